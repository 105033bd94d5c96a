"""Render one adapter call, and know where the instruction and the values are.

To find a value, the call is rendered a second time with a marker in its place: what stands before
and after the marker also stands before and after the value.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dspy

from dspy_greater.basics.spans import INSTRUCTION, Message, TextSpan
from dspy_greater.program.errors import RenderingError, shown

SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class AdapterCall:
    """What an adapter is called with; ``fixed`` ends the instruction, but not its span."""

    signature: type[dspy.Signature]
    demos: list[Any]
    inputs: dict[str, Any]
    fixed: str = ""


@dataclass(frozen=True)
class Rendered:
    """The prompt of a call, and the assistant turn up to the end of the last given output.

    Spans are those of the instruction (:data:`INSTRUCTION`, with the adapter's indentation of its
    later lines) and of every given value. A JSON string's is inside its quotes, with its escapes;
    that of an empty value at the end is what stands behind it.
    """

    messages: tuple[Message, ...]
    completion: str | None
    spans: dict[str, TextSpan]


def current_adapter() -> dspy.Adapter:
    """Return the adapter that predictors use at this point of the program."""
    return dspy.settings.adapter or dspy.ChatAdapter()


def end_marks(adapter: dspy.Adapter) -> tuple[str, ...]:
    """Return what ends an answer and may be cut off: XMLAdapter cannot read it without its tag."""
    return ("\n[[ ## completed ## ]]",) if type(adapter) is dspy.ChatAdapter else ()


def render(
    adapter: dspy.Adapter, call: AdapterCall, outputs: Mapping[str, Any] | None = None
) -> Rendered:
    """Render a call and the turn that answers it, if any output fields, from the first on."""
    messages = _format(adapter, call)
    spans = {INSTRUCTION: _instruction_span(adapter, call, messages)}
    if outputs is None:
        return Rendered(messages, None, spans)
    completion, ranges = completion_of(adapter, call.signature, outputs)
    for name, (start, end) in ranges.items():
        spans[name] = TextSpan(len(messages), start, end)
    return Rendered(messages, completion, spans)


def assistant_text(
    adapter: dspy.Adapter, signature: type[dspy.Signature], outputs: Mapping[str, Any]
) -> str:
    """Return the whole assistant turn, as the adapter would expect it back."""
    # Rendering is not a program run: the user's callbacks are not to hear of it.
    with dspy.context(callbacks=[]):
        return str(adapter.format_assistant_message_content(signature, dict(outputs)))


def _format(adapter: dspy.Adapter, call: AdapterCall) -> tuple[Message, ...]:
    messages = _written(adapter, call)
    if faults := _faults(messages):
        texts = [n for n, each in call.inputs.items() if not isinstance(each, dspy.History)]
        blank = ((name, replace(call, inputs={**call.inputs, name: ""})) for name in texts)
        fewer = (name for name, other in blank if _faults(_written(adapter, other)) < faults)
        name = next(fewer, "")
        where = f"the input {name}={shown(call.inputs[name])}" if name else "a demo"
        raise RenderingError(
            f"{where} holds an image, a file, a "
            "native tool call or half a character (a lone surrogate), but a causal language model "
            "reads whole text alone: give it as a text, repaired where it is broken by "
            "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace'), or leave it out."
        )
    return tuple(Message(role=str(m["role"]), content=m["content"]) for m in messages)


def _written(adapter: dspy.Adapter, call: AdapterCall) -> list[dict[str, Any]]:
    with dspy.context(callbacks=[]):
        return list(adapter.format(call.signature, list(call.demos), dict(call.inputs)))


def _faults(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return how many parts of messages are not text, or hold half a character."""
    contents = [message.get("content") for message in messages]
    halves = sum(len(SURROGATE.findall(each)) for each in contents if isinstance(each, str))
    return halves + sum(len(each or "?") for each in contents if not isinstance(each, str))


def _instruction_span(
    adapter: dspy.Adapter, call: AdapterCall, messages: Sequence[Message]
) -> TextSpan:
    marker = _marker(message["content"] for message in messages)
    signature: Any = call.signature
    signature = with_instructions(signature, marker + call.fixed)
    marked = _format(adapter, replace(call, signature=signature))
    for index, (message, other) in enumerate(zip(messages, marked, strict=False)):
        before, found, after = other["content"].partition(marker)
        text = message["content"]
        end = len(text) - len(after)
        if found and text.startswith(before) and text.endswith(after) and end > len(before):
            return TextSpan(index, len(before), end)
    raise RenderingError(
        f"{type(adapter).__name__} does not put the signature's instructions into the prompt as "
        "they are: use ChatAdapter, JSONAdapter or XMLAdapter."
    )


@functools.lru_cache(maxsize=1024)
def with_instructions(signature: type[dspy.Signature], text: str) -> type[dspy.Signature]:
    """Return the signature with another instruction; making one costs more than rendering it."""
    return signature.with_instructions(text)


def completion_of(
    adapter: dspy.Adapter, signature: type[dspy.Signature], outputs: Mapping[str, Any]
) -> tuple[str, dict[str, tuple[int, int]]]:
    """Return the assistant turn up to the last given value, and the range of every value."""
    given = [name for name in signature.output_fields if name in outputs]
    fields = list(signature.output_fields)[: len(given)]
    if given != fields:
        missing = next(name for name in fields if name not in outputs)
        raise RenderingError(
            f"The output field {missing!r} has no value, but a later field has one: give every "
            f"output field before {given[-1]!r} a value."
        )
    values = {name: outputs[name] for name in given}
    text = assistant_text(adapter, signature, values)
    marker = _marker([text])
    ranges = {}
    for name in given:
        twin = assistant_text(adapter, signature, {**values, name: marker})
        ranges[name] = _value_range(adapter, name, text, twin, marker)
    if not given:
        return "", ranges
    start, end = ranges[given[-1]]
    if start == end:  # an empty value is told by what the adapter writes next
        later = list(signature.output_fields)[len(given) :]
        twin = assistant_text(adapter, signature, {**values, later[0]: marker}) if later else text
        end = len(text[: _common(text, twin)].rstrip())
        ranges[given[-1]] = (start, max(start, end))
    return text[: max(start, end)], ranges


def _value_range(
    adapter: dspy.Adapter, name: str, text: str, twin: str, marker: str
) -> tuple[int, int]:
    before, found, after = twin.partition(marker)
    if not found:
        raise RenderingError(
            f"{type(adapter).__name__} does not write the output field {name!r} as text into the "
            "assistant turn: use ChatAdapter, JSONAdapter or XMLAdapter."
        )
    # Where the adapter frames strings (JSON's quotes, XML's line breaks), a value of another type
    # lacks the marker's frame: only the part of it that both texts have is outside the value.
    start = _common(text, before)
    return start, max(start, len(text) - _common(text[::-1], after[::-1]))


def _common(one: str, other: str) -> int:
    """Return how many characters both begin with."""
    differences = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differences, min(len(one), len(other)))


def _marker(texts: Iterable[str]) -> str:
    """Return a word that occurs in none of the texts and that no adapter escapes."""
    seen = "\n".join(texts)
    return next(marker for n in itertools.count() if (marker := f"VALUE{n}MARK") not in seen)
