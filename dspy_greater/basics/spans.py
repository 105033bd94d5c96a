"""Plain data that the DSPy side and the model side exchange."""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict

#: Names of spans that are not an output field's value; no field can have such a name.
INSTRUCTION: Final = "(instruction)"
THINKING: Final = "(thinking)"


class Message(TypedDict):
    """One chat turn."""

    role: str
    content: str


class Span(NamedTuple):
    """Half-open range ``[start, end)`` of token positions."""

    start: int
    end: int


class TextSpan(NamedTuple):
    """Half-open range ``[start, end)`` of characters inside one message.

    ``message`` is its index; one past the last is the answer, forced on the model.
    """

    message: int
    start: int
    end: int
