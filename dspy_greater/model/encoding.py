"""Chat messages to token ids, with the token spans of the texts that matter.

The whole text is tokenised once, and spans come from character offsets: the same words are
tokenised differently after different neighbours, so a search for their ids would miss them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from dspy_greater.basics.spans import THINKING, Message, Span, TextSpan
from dspy_greater.model.templates import ChatTemplate
from dspy_greater.model.thinking import Thinking

# How SentencePiece-like and byte-level vocabularies write a space.
BLANK, BYTE_SPACE = "▁", "Ġ"
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Encoding:
    """A tokenised prompt, the begin-of-text token included.

    By name, ``spans`` are the tokens that overlap a text, and ``overhang`` is what these hold
    beside it: mostly nothing, or the space before a word.
    """

    ids: tuple[int, ...]
    spans: dict[str, Span]
    overhang: dict[str, str] = field(default_factory=dict)


class ChatEncoder:
    """Turns messages into token ids as the chat template asks, given further variables of it.

    ``thinking`` is how the model marks what it thinks before it answers; None if it does not.
    """

    def __init__(self, tokenizer: Any, template_kwargs: Mapping[str, Any] = NOTHING) -> None:
        self.tokenizer = tokenizer
        self.thinking = Thinking.of(tokenizer)
        self._template = ChatTemplate(tokenizer, template_kwargs)

    def encode(
        self,
        messages: Sequence[Message],
        *,
        completion: str | None = None,
        thinking: str = "",
        spans: Mapping[str, TextSpan] = NOTHING,
        open_end: bool = False,
    ) -> Encoding:
        """Tokenise a conversation, and find the texts of ``spans`` in it, by name.

        The ``completion`` is the assistant's text, appended after the generation prompt; spans in
        it have ``message == len(messages)``. What the assistant was ``thinking`` before it gets the
        span ``THINKING``; it is left out where the model has no marks for it or the prompt turns
        thinking off. An ``open_end`` is right after the last content, without a generation prompt.

        Raises:
            TemplateError: The chat template refuses the messages or rewrites a text with a span.
        """
        if open_end and completion is not None:
            raise ValueError("open_end leaves the last message unfinished; it takes no completion.")
        answer = [] if completion is None else [completion]
        lengths = [*(len(message["content"]) for message in messages), *map(len, answer)]
        for name, span in spans.items():
            length = lengths[span.message] if 0 <= span.message < len(lengths) else -1
            if not 0 <= span.start <= span.end <= length:
                raise ValueError(f"Span {name!r} lies outside of the messages: {span}.")
        wanted = {span.message for span in spans.values()}
        text, places = self._template.layout(messages, wanted, open_end=open_end)
        if completion is not None:
            text += self._template.around_answer[0]
            lead = len(text)
            text += self.thinking.written(thinking, text) if self.thinking else ""
            origin = len(text)
            text += completion
        ids, offsets = self._tokenise(text)
        found, overhang = {}, {}
        for name, span in spans.items():
            if span.message == len(messages):
                start, end = origin + span.start, origin + span.end
            else:
                place = places[span.message]
                start, end = place.at(span.start), place.at(span.end)
            found[name] = tokens_over(offsets, start, end)
            over = offsets[slice(*found[name])] or [(start, end)]
            overhang[name] = text[min(over[0][0], start) : start] + text[end : over[-1][1]]
        if thinking and completion is not None and origin > lead:
            found[THINKING] = tokens_over(offsets, lead, origin)
        return Encoding(ids, found, overhang)

    def decode(self, ids: Sequence[int], *, after: Sequence[int] = ()) -> str:
        """Return the text of ``ids``, special tokens kept, spaces not cleaned up.

        Some decoders drop a leading space where they do not know which tokens it stands ``after``.
        """
        before, whole = self._decode(after), self._decode([*after, *ids])
        if not whole.startswith(before):
            # An unfinished character decodes to U+FFFD until `ids` complete it.
            before = before.rstrip("\ufffd")
        return whole[len(before) :]

    @cached_property
    def end_of_turn(self) -> int | None:
        """The special token with which the chat template ends an assistant's turn."""
        tail = self._template.around_answer[1].strip()
        if not tail:
            return None
        first = self._tokenise_plain(tail)[0][0]
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        return first if first in special else None

    def special_tokens_in(self, text: str) -> list[str]:
        """Return the special tokens that the tokenizer would read in a text."""
        special = set(self.tokenizer.all_special_ids)
        special |= {i for i, each in self.tokenizer.added_tokens_decoder.items() if each.special}
        found = [token for token in self._tokenise_plain(text)[0] if token in special]
        return list(map(str, self.tokenizer.convert_ids_to_tokens(found)))

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    @cached_property
    def _opening(self) -> tuple[int, ...]:
        """Special tokens the tokenizer puts before any text by itself (usually BOS, or none)."""
        encoded = self.tokenizer("a", return_special_tokens_mask=True)
        return tuple(encoded["input_ids"][: encoded["special_tokens_mask"].index(0)])

    def _tokenise(self, text: str) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        """Return ids and offsets, the opening special tokens once, whether templated or not."""
        ids, offsets = self._tokenise_plain(text)
        opening = self._opening
        if opening and tuple(ids[: len(opening)]) != opening:
            ids, offsets = [*opening, *ids], [(0, 0)] * len(opening) + offsets
        return tuple(ids), offsets

    def _tokenise_plain(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        text = text.encode(errors="replace").decode()  # JSON can spell half a character
        encoded = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        ids, offsets = list(encoded["input_ids"]), list(encoded["offset_mapping"])
        return ids, token_offsets(self.tokenizer.convert_ids_to_tokens(ids), offsets)


def token_offsets(
    pieces: Sequence[str], offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the characters that each token writes, by what a tokenizer tells of them.

    SentencePiece-like ones begin a text with a blank of their own, which stands for nothing, and
    give it the next token's first character. Byte-level ones may leave out spaces.
    """
    found: list[tuple[int, int]] = []
    covered = 0
    following = [start for start, _ in offsets[1:]] + [-1]
    for piece, (start, end), after in zip(pieces, offsets, following, strict=True):
        if piece == BLANK and start == after:
            end = start
        elif start == end and piece and not piece.strip(BYTE_SPACE):
            start, end = covered, covered + len(piece)
        start = min(start, covered)
        covered = max(covered, end)
        found.append((start, max(start, end)))
    return found


def tokens_over(offsets: Sequence[tuple[int, int]], start: int, end: int) -> Span:
    """Return the tokens that overlap the characters ``[start, end)``."""
    hits = [i for i, (left, right) in enumerate(offsets) if left < end and right > start]
    if start < end and hits:
        return Span(hits[0], hits[-1] + 1)
    at = next((i for i, (_, right) in enumerate(offsets) if right > start), len(offsets))
    return Span(at, at)
