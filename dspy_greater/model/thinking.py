"""The block in which a reasoning model thinks before it answers, between marks such as ``<think>``.

Some templates write the first mark at the end of the prompt, or both where thinking is turned off.
The block is no part of the answer but of whatever is scored, since the answer follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

#: How models mark the block: Qwen, DeepSeek, GLM, SmolLM and many others; Mistral; Cohere; Seed.
MARKS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
)


@dataclass(frozen=True)
class Thinking:
    """The marks of one tokenizer: their texts, and the tokens that begin and end a block."""

    tokenizer: Any
    marks: tuple[str, str]
    open: int
    close: int

    @classmethod
    def of(cls, tokenizer: Any) -> Thinking | None:
        """Return a tokenizer's marks, None where it has none that are single added tokens."""
        added = {entry.content: token for token, entry in tokenizer.added_tokens_decoder.items()}
        for opening, closing in MARKS:
            if opening in added and closing in added:
                return cls(tokenizer, (opening, closing), added[opening], added[closing])
        return None

    def begun(self, prompt: Sequence[int]) -> bool:
        """Whether a prompt ends inside of a block, but for white space."""
        last = next((token for token in reversed(prompt) if not self.blank(token)), None)
        return last == self.open

    def length(self, prompt: Sequence[int], ids: Sequence[int]) -> int:
        """Return how many of the tokens that continue a prompt are its block and blanks behind."""
        block = Block(self, prompt)
        for token in ids:
            block.read(token)
        end = len(ids) if block.is_open else block.length
        while 0 < end < len(ids) and self.blank(ids[end]):
            end += 1
        return end

    def text(self, block: Sequence[int]) -> str:
        """Return what was thought, without marks and the white space around it."""
        inner = [token for token in block if token not in (self.open, self.close)]
        return str(self.tokenizer.decode(inner, clean_up_tokenization_spaces=False)).strip()

    def written(self, thought: str, prompt: str) -> str:
        """Return the block as it stands between a prompt, which may open it, and the answer."""
        opening, closing = self.marks
        before = prompt.rstrip()
        if before.endswith(closing) or not (thought or before.endswith(opening)):
            return ""
        head = "" if before.endswith(opening) else opening
        head += "\n" if head or before == prompt else ""
        return head + (f"{thought}\n" if thought else "") + f"{closing}\n\n"

    def blank(self, token: int) -> bool:
        """Whether a token is white space."""
        return token not in (self.open, self.close) and not self.tokenizer.decode([token]).strip()


class Block:
    """Follows, token by token, whether a row is inside of its block, and how long that was."""

    def __init__(self, thinking: Thinking | None, prompt: Sequence[int]) -> None:
        self.is_open = thinking is not None and thinking.begun(prompt)
        self.length = 0
        self._thinking = thinking
        self._may_begin = thinking is not None and not self.is_open
        self._read = 0

    def read(self, token: int) -> None:
        """Take note of the next token."""
        self._read += 1
        if self._thinking is None:
            return
        if self.is_open and token == self._thinking.close:
            self.is_open, self.length = False, self._read
        elif self._may_begin and not self._thinking.blank(token):
            self.is_open, self._may_begin = token == self._thinking.open, False
