"""From messages to one text: the chat template, or what stands in for it.

A template that refuses or drops a system message gets its text at the head of the next user turn;
without a template contents stand between blank lines. A content is located by rendering a sentinel
in its place, which is right however often the same words occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dspy_greater.basics.spans import Message
from dspy_greater.model.errors import TemplateError

SEPARATOR = "\n\n"
#: Texts in private use, to be found where a template writes them.
SENTINELS = [chr(code) + chr(code + 1) + chr(code) for code in range(0xE000, 0xF8FF, 2)]


@dataclass
class Turn:
    """One turn of the template; ``offsets`` tell where each merged message's content starts."""

    role: str
    content: str
    offsets: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where what was kept of a content lies in a text; ``origin`` is that of its character 0."""

    origin: int
    start: int
    end: int

    def at(self, character: int) -> int:
        """Return the text position of a character of the content, clipped to what was kept."""
        return min(max(self.origin + character, self.start), self.end)


class ChatTemplate:
    """A tokenizer's chat template, with its gaps filled in, and further variables for it."""

    def __init__(self, tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._kwargs = dict(kwargs)

    @cached_property
    def around_answer(self) -> tuple[str, str]:
        """White space that precedes an assistant's text, and what follows it: the end of turn."""
        question, answer = SENTINELS[:2]
        ask = Turn("user", question)
        try:
            prompt = self._apply([ask], open_end=False)
            whole = self._apply([ask, Turn("assistant", answer)], open_end=True)
        except TemplateError:
            return "", ""
        before, found, after = whole.partition(answer)
        lead = before[len(prompt) :] if found and before.startswith(prompt) else ""
        return (lead if lead.isspace() else ""), after

    def layout(
        self, messages: Sequence[Message], wanted: set[int], *, open_end: bool
    ) -> tuple[str, dict[int, Place]]:
        """Render ``messages`` and locate those with the ``wanted`` indices.

        An open end is right after the last message's content, with nothing trimmed off.
        """
        native = self._takes_system
        try:
            return self._layout(turns(messages, merge_system=not native), wanted, open_end)
        except TemplateError:
            # A template may take a system message but not a conversation without a user turn.
            if not native or any(message["role"] == "user" for message in messages):
                raise
            return self._layout(turns(messages, merge_system=True), wanted, open_end)

    @cached_property
    def _takes_system(self) -> bool:
        """Whether a system message comes through (some templates raise, some drop it)."""
        system, user = SENTINELS[:2]
        try:
            text = self._apply([Turn("system", system), Turn("user", user)], open_end=False)
        except TemplateError:
            return False
        return system in text and user in text

    def _layout(
        self, conversation: list[Turn], wanted: set[int], open_end: bool
    ) -> tuple[str, dict[int, Place]]:
        text = self._apply(conversation, open_end=open_end)
        places: dict[int, Place] = {}
        for position, turn in enumerate(conversation):
            last = open_end and position == len(conversation) - 1
            if not last and not wanted & turn.offsets.keys():
                continue
            place = self._place(conversation, position, text, open_end)
            if last:  # whatever the template wrote or trimmed after this content goes
                text = text[: place.start] + turn.content[place.start - place.origin :]
                place = Place(place.origin, place.start, len(text))
            for message, offset in turn.offsets.items():
                places[message] = Place(place.origin + offset, place.start, place.end)
        return text, places

    def _place(self, conversation: list[Turn], position: int, text: str, open_end: bool) -> Place:
        """Find turn ``position`` in ``text`` by rendering it as a sentinel."""
        turn = conversation[position]
        sentinel = next(each for each in SENTINELS if each not in text)
        marked = list(conversation)
        marked[position] = Turn(turn.role, sentinel)
        before, _, after = self._apply(marked, open_end=open_end).partition(sentinel)
        start, end = len(before), len(text) - len(after)
        untouched = text.startswith(before) and text.endswith(after) and start <= end
        for trimmed in (len(turn.content) - len(turn.content.lstrip()), 0):
            rest = turn.content[trimmed:]
            if untouched and text[start:end] in (rest, rest.rstrip()):
                return Place(start - trimmed, start, end)
        raise TemplateError(
            f"The chat template changes the text of message {min(turn.offsets, default=0)} "
            f"({turn.role}: {turn.content[:60]!r} …), so its tokens cannot be located. "
            "Use a template that writes contents as they are, or only trims them."
        )

    def _apply(self, conversation: Sequence[Turn], *, open_end: bool) -> str:
        if not self._tokenizer.chat_template:
            text = "".join(turn.content + SEPARATOR for turn in conversation)
            return text.removesuffix(SEPARATOR) if open_end else text
        chat = [{"role": turn.role, "content": turn.content} for turn in conversation]
        try:
            text = self._tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=not open_end, **self._kwargs
            )
        except Exception as error:  # a template may raise whatever it likes
            roles = ", ".join(turn.role for turn in conversation)
            raise TemplateError(
                f"The chat template refused a conversation with the roles [{roles}]: {error}"
            ) from error
        return str(text)


def turns(messages: Sequence[Message], *, merge_system: bool) -> list[Turn]:
    """Return messages as turns; ``merge_system`` puts system texts before the next user's."""
    result: list[Turn] = []
    pending = False  # whether the last turn is a system text
    for index, message in enumerate(messages):
        turn = Turn(message["role"], message["content"], {index: 0})
        if pending and turn.role in ("user", "system"):
            system = result.pop()
            head = system.content + SEPARATOR if system.content else ""
            offsets = {**system.offsets, index: len(head)}
            turn = Turn(turn.role, head + turn.content, offsets)
        pending = merge_system and turn.role == "system"
        if pending:
            turn.role = "user"
        result.append(turn)
    return result
