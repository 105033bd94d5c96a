"""From messages to one text: the chat template, or what stands in for it.

Three kinds of model must work without anyone naming them. A template with a system role is used as
it is. A template that refuses a system message, or silently drops it, gets the system text at the
head of the next user turn. A base model without a template gets the contents, separated by blank
lines: DSPy's adapters mark the parts of a prompt themselves, so no role names are invented.

Where a content ends up in the templated text is found with a sentinel, not by searching for it: the
template is rendered once more with the content replaced by characters that occur nowhere else. What
stands before and after the sentinel is exactly what stands before and after the content, however
often the same words occur elsewhere, and even where the template trims white space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dspy_greater.basics.spans import Message
from dspy_greater.model.errors import TemplateError

SEPARATOR = "\n\n"


@dataclass
class Turn:
    """One turn as the template sees it; several messages may have been merged into it.

    Attributes:
        role: ``system``, ``user`` or ``assistant``.
        content: The text handed to the template.
        offsets: Message index -> where that message's content starts in ``content``.
    """

    role: str
    content: str
    offsets: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A templated prompt and where the wanted message contents lie in it.

    Attributes:
        text: The whole text.
        places: Message index -> where its content lies in ``text``.
    """

    text: str
    places: dict[int, Place]


@dataclass(frozen=True)
class Place:
    """Where one message's content lies in a text.

    Attributes:
        origin: Text position of the content's character 0 (it may itself be trimmed away).
        start: First text position that the template kept.
        end: One past the last text position that it kept.
    """

    origin: int
    start: int
    end: int

    def at(self, character: int) -> int:
        """Text position of a character of the content, clipped to what was kept."""
        return min(max(self.origin + character, self.start), self.end)


class ChatTemplate:
    """A tokenizer's chat template, with its gaps filled in.

    Args:
        tokenizer: The tokenizer.
        kwargs: Further variables of the template.
    """

    def __init__(self, tokenizer: Any, kwargs: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._kwargs = dict(kwargs)

    @property
    def exists(self) -> bool:
        """Whether the tokenizer has a chat template at all."""
        return bool(getattr(self._tokenizer, "chat_template", None))

    @cached_property
    def takes_system(self) -> bool:
        """Whether a system message comes through (some templates raise, some drop it)."""
        system, user = sentinels("", 2)
        try:
            text = self._apply([Turn("system", system), Turn("user", user)], open_end=False)
        except TemplateError:
            return False
        return system in text and user in text

    @cached_property
    def assistant_lead(self) -> str:
        """White space that stands between the generation prompt and an assistant's text."""
        rendered = self._with_answer()
        if rendered is None:
            return ""
        prompt, whole, answer = rendered
        before = whole[: whole.index(answer)]
        lead = before[len(prompt) :] if before.startswith(prompt) else ""
        return lead if lead.isspace() else ""

    @cached_property
    def after_assistant(self) -> str:
        """What the template writes after an assistant's text: the end-of-turn mark comes first."""
        rendered = self._with_answer()
        if rendered is None:
            return ""
        _, whole, answer = rendered
        return whole[whole.index(answer) + len(answer) :]

    def layout(
        self, messages: Sequence[Message], wanted: set[int], *, open_end: bool = False
    ) -> Layout:
        """Render ``messages`` and locate the ``wanted`` ones.

        Args:
            messages: The conversation.
            wanted: Indices of the messages whose place is needed.
            open_end: End right after the last message's content, with nothing trimmed off its end.
        """
        if not self.exists:
            return plain_layout(messages, open_end=open_end)
        native = self.takes_system
        try:
            return self._layout(turns(messages, merge_system=not native), wanted, open_end)
        except TemplateError:
            # A template may take a system message but not a conversation without a user turn.
            if not native or any(message["role"] == "user" for message in messages):
                raise
            return self._layout(turns(messages, merge_system=True), wanted, open_end)

    def _layout(self, conversation: list[Turn], wanted: set[int], open_end: bool) -> Layout:
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
        return Layout(text, places)

    def _place(self, conversation: list[Turn], position: int, text: str, open_end: bool) -> Place:
        """Where turn ``position`` lies in ``text``, found by rendering it as a sentinel."""
        turn = conversation[position]
        (sentinel,) = sentinels(text, 1)
        marked = list(conversation)
        marked[position] = Turn(turn.role, sentinel)
        before, _, after = self._apply(marked, open_end=open_end).partition(sentinel)
        start, end = len(before), len(text) - len(after)
        kept = text[start:end]
        trimmed = _trimmed_left(turn.content, kept)
        untouched = text.startswith(before) and text.endswith(after) and start <= end
        if not untouched or trimmed is None:
            raise TemplateError(
                f"The chat template changes the text of message {min(turn.offsets, default=0)} "
                f"({turn.role}: {turn.content[:60]!r} …), so its tokens cannot be located. "
                "Use a template that writes contents as they are, or only trims them."
            )
        return Place(start - trimmed, start, end)

    def _apply(self, conversation: Sequence[Turn], *, open_end: bool) -> str:
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

    def _with_answer(self) -> tuple[str, str, str] | None:
        """(prompt, prompt with an answer, the answer) of a probe conversation."""
        question, answer = sentinels("", 2)
        ask = Turn("user", question)
        try:
            prompt = self._apply([ask], open_end=False)
            whole = self._apply([ask, Turn("assistant", answer)], open_end=True)
        except TemplateError:
            return None
        return (prompt, whole, answer) if answer in whole else None


def turns(messages: Sequence[Message], *, merge_system: bool) -> list[Turn]:
    """Messages as turns; ``merge_system`` puts system texts at the head of the next user turn."""
    result: list[Turn] = []
    pending: Turn | None = None
    for index, message in enumerate(messages):
        turn = Turn(message["role"], message["content"], {index: 0})
        if pending is not None:
            if turn.role not in ("user", "system"):
                result.append(pending)
            else:
                turn = _joined(pending, turn)
            pending = None
        if merge_system and message["role"] == "system":
            pending = Turn("user", turn.content, turn.offsets)
        else:
            result.append(turn)
    return result if pending is None else [*result, pending]


def _joined(first: Turn, second: Turn) -> Turn:
    """One turn of the second's role with both contents."""
    head = first.content + SEPARATOR if first.content else ""
    moved = {message: offset + len(head) for message, offset in second.offsets.items()}
    return Turn(second.role, head + second.content, {**first.offsets, **moved})


def plain_layout(messages: Sequence[Message], *, open_end: bool) -> Layout:
    """Contents separated by blank lines, for models without a chat template."""
    text, places = "", {}
    for index, message in enumerate(messages):
        start = len(text)
        text += message["content"]
        places[index] = Place(start, start, len(text))
        if not (open_end and index == len(messages) - 1):
            text += SEPARATOR
    return Layout(text, places)


def sentinels(text: str, count: int) -> list[str]:
    """Private-use strings that do not occur in ``text``."""
    found: list[str] = []
    code = 0xE000
    while len(found) < count:
        candidate = "".join(chr(code + step) for step in (0, 1, 0))
        if candidate not in text:
            found.append(candidate)
        code += 2
    return found


def _trimmed_left(content: str, kept: str) -> int | None:
    """How many characters a template trimmed off the left; None if it did more than trim."""
    left = len(content) - len(content.lstrip())
    for trimmed, expected in (
        (0, content),
        (left, content.strip()),
        (left, content.lstrip()),
        (0, content.rstrip()),
    ):
        if kept == expected:
            return trimmed
    return None
