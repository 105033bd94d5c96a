"""Where each row of a generation ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import StoppingCriteria

from dspy_greater.model.encoding import ChatEncoder
from dspy_greater.model.requests import Request
from dspy_greater.model.thinking import Block, Thinking

#: Rows that have ended before the others go on without them; beginning anew has a price.
FEWEST_LEAVING = 4


@dataclass(frozen=True)
class EndTokens:
    """Tokens that end a text, and the one that fills finished rows."""

    ends: tuple[int, ...]
    pad: int


def end_tokens(model: Any, tokenizer: Any, encoder: ChatEncoder) -> EndTokens:
    """Return the end tokens of the checkpoint, the tokenizer and the chat template."""
    config = getattr(model, "generation_config", None)
    own = getattr(config, "eos_token_id", None)
    ends = {*(own if isinstance(own, list | tuple) else [own])}
    ends |= {tokenizer.eos_token_id, encoder.end_of_turn}
    known = sorted(int(token) for token in ends if token is not None)
    # A pad token that was added to the tokenizer alone has no row in the embedding.
    rows = model.get_input_embeddings().weight.shape[0]
    pads = [token for token in (tokenizer.pad_token_id, *known, 0) if token is not None]
    return EndTokens(tuple(known), next(int(token) for token in pads if token < rows))


class ObjectEnd:
    """Reads a text piece by piece until the brace that closes its first JSON object.

    Braces inside of strings do not count, and quotes before the object begin none.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = self._escaped = False

    def read(self, piece: str) -> bool:
        """Whether the object is closed in this piece; nothing is to be read after that."""
        return any(self._closes(character) for character in piece)

    def _closes(self, character: str) -> bool:
        if self._escaped:
            self._escaped = False
        elif self._in_string:
            self._escaped = character == "\\"
            self._in_string = character != '"'
        elif character == '"':
            self._in_string = self._depth > 0
        elif character == "{":
            self._depth += 1
        elif character == "}" and self._depth:
            self._depth -= 1
            return self._depth == 0
        return False


class RowStops(StoppingCriteria):
    """Ends each row at its own length, at an end token, a stop string or an object's last brace.

    Args:
        tokenizer: The model's.
        ends: Tokens that end a text.
        requests: All requests.
        width: Columns before the first token that is generated.
        leaving: Whether to end the whole batch as soon as enough rows have ended, so that the
            others can go on without them.
        thinking: How the model marks what it thinks, where no stop string counts.

    Attributes:
        rows: Which request each row of the batch continues.
        length: By request, tokens generated when it ended, end token included; None before.
        stopped: By request, whether a stop string or a last brace ended it.
    """

    def __init__(
        self,
        tokenizer: Any,
        ends: Sequence[int],
        requests: Sequence[Request],
        width: int,
        *,
        leaving: bool,
        thinking: Thinking | None = None,
    ) -> None:
        self.rows = list(range(len(requests)))
        self.length: list[int | None] = [None] * len(requests)
        self.stopped = [False] * len(requests)
        self._tokenizer, self._ends = tokenizer, ends
        self._samplings = [request.sampling for request in requests]
        self._width = width
        self._leaving = leaving
        # A token stands for at least one byte, so a stop string spans at most as many tokens as it
        # has bytes; a few more, because decoding may drop a space at the start of the tail.
        self._tails = [
            max((len(text.encode()) + 4 for text in sampling.stop), default=0)
            for sampling in self._samplings
        ]
        self._objects = [ObjectEnd() if each.json_object else None for each in self._samplings]
        self._produced = 0
        self._blocks = [Block(thinking, request.prompt) for request in requests]

    def most_left(self) -> int:
        """Return how many tokens the longest of the rows may still have."""
        return max(self._samplings[row].max_tokens for row in self.rows) - self._produced

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Return which rows are done, bool ``[batch]``; all when it is time to leave."""
        self._produced = input_ids.shape[1] - self._width
        for row, token, ids in zip(self.rows, input_ids[:, -1].tolist(), input_ids, strict=True):
            if self.length[row] is None:
                self._blocks[row].read(token)
                self.stopped[row] = self._stops(row, token, ids) or self._closes(row, token)
                full = self._produced >= self._samplings[row].max_tokens
                if self.stopped[row] or full or token in self._ends:
                    self.length[row] = self._produced
        done = [self.length[row] is not None for row in self.rows]
        if self._leaving and sum(done) >= max(FEWEST_LEAVING, len(done) / 4):
            done = [True] * len(done)
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def _closes(self, row: int, token: int) -> bool:
        """Whether a token closes the object that a row is to end with: none of its block."""
        closing = self._objects[row]
        if closing is None or self._blocks[row].is_open:
            return False
        return closing.read(str(self._tokenizer.decode([token])))

    def _stops(self, row: int, token: int, ids: torch.Tensor) -> bool:
        """Whether a row's last tokens, none of its block, hold one of its stop strings."""
        block, stop = self._blocks[row], self._samplings[row].stop
        tail = 0 if block.is_open else min(self._tails[row], self._produced - block.length)
        if tail <= 0:
            return False
        piece = str(self._tokenizer.convert_ids_to_tokens(token))
        if not any(_may_hold(piece, text[-1]) for text in stop):  # a look that is nearly free
            return False
        text = self._tokenizer.decode(
            ids[-tail:].tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return any(each in text for each in stop)


def _may_hold(piece: str, character: str) -> bool:
    """Whether a token's name allows for a character: as it stands, or hidden in bytes."""
    visible = "!" <= character <= "~"  # what every kind of tokenizer writes as it is
    return not visible or character in piece or piece.startswith("<0x")
