"""Each row's next token, by that row's own settings, and where the row ends.

A seeded row draws from a generator of its own, by Gumbel-max: ``argmax(log p - log E)`` with
``E ~ Exp(1)`` is a sample from p, and the same noise gives the same token whatever else is in the
batch, as long as the log-probabilities agree but for rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from dspy_greater.model.encoding import ChatEncoder
from dspy_greater.model.forward import at_least_float32
from dspy_greater.model.requests import Request, Sampling
from dspy_greater.model.thinking import Block

#: Rows that have ended before the others go on without them; beginning anew has a price.
FEWEST_LEAVING = 4


class RowSampler(LogitsProcessor):
    """Leaves each row, which continues one of the requests, only the chosen token's score."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.rows: Sequence[int] = range(len(requests))
        self._requests = requests
        self._generators: dict[int, torch.Generator] = {}

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``[batch, vocab]`` in which only the chosen token is possible."""
        sampled = [
            at for at, row in enumerate(self.rows) if self._requests[row].sampling.temperature > 0
        ]
        if not sampled:
            return scores
        places = torch.tensor(sampled, device=scores.device)
        chosen, rows = scores.argmax(dim=-1), [self.rows[at] for at in sampled]
        log_probs = torch.log_softmax(at_least_float32(scores[places]), dim=-1)
        chosen[places] = self._draw(log_probs, rows)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    def _draw(self, log_probs: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """Draw one token for each of some requests; ``[rows, vocab]`` to ``[rows]``."""
        settings = [self._requests[row].sampling for row in rows]
        temperature = torch.tensor([s.temperature for s in settings], device=log_probs.device)
        scaled = log_probs / temperature[:, None]
        if any(s.top_k or s.top_p < 1 for s in settings):
            scaled = keep_likeliest(scaled, settings)
        noise = torch.empty_like(scaled)
        for row, into in zip(rows, noise, strict=True):
            if row not in self._generators:
                prompt, seed = self._requests[row].prompt, self._requests[row].sampling.seed
                self._generators[row] = generator(seed, prompt, log_probs.device)
            into.exponential_(generator=self._generators[row])
        return (scaled - noise.log()).argmax(dim=-1)


def keep_likeliest(scaled: torch.Tensor, settings: Sequence[Sampling]) -> torch.Tensor:
    """Apply each row's top-k, then its top-p; ``[rows, vocab]``, the rest at minus infinity."""
    vocab = scaled.shape[-1]
    device = scaled.device
    top_k = torch.tensor([s.top_k or vocab for s in settings], device=device)
    top_p = torch.tensor([s.top_p for s in settings], device=device)
    ordered, order = scaled.sort(dim=-1, descending=True, stable=True)
    keep = torch.arange(vocab, device=device) < top_k[:, None]
    probs = torch.softmax(ordered.masked_fill(~keep, -torch.inf), dim=-1)
    before = probs.cumsum(dim=-1) - probs
    # A row without top-p keeps its tail even where rounding lets the sum reach one early.
    keep &= (before < top_p[:, None]) | (top_p[:, None] >= 1)
    keep[:, 0] = True
    ordered = ordered.masked_fill(~keep, -torch.inf)
    return torch.empty_like(scaled).scatter_(1, order, ordered)


def generator(seed: int | None, prompt: Sequence[int], device: torch.device) -> torch.Generator:
    """Return a random generator by seed and prompt; by seed alone, all rows would err alike."""
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    text = f"{seed} {list(prompt)}".encode()
    own = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") % 2**63
    return torch.Generator(device=device).manual_seed(own)


def end_tokens(model: Any, encoder: ChatEncoder) -> tuple[tuple[int, ...], int]:
    """Return tokens with which a text ends for checkpoint, tokenizer or template, and a pad."""
    config = getattr(model, "generation_config", None)
    own = getattr(config, "eos_token_id", None)
    ends = {*(own if isinstance(own, list | tuple) else [own])}
    ends |= {encoder.tokenizer.eos_token_id, encoder.end_of_turn}
    known = sorted(int(token) for token in ends if token is not None)
    # A pad token that was added to the tokenizer alone has no row in the embedding.
    rows = model.get_input_embeddings().weight.shape[0]
    pads = [token for token in (encoder.tokenizer.pad_token_id, *known, 0) if token is not None]
    return tuple(known), next(int(token) for token in pads if token < rows)


class ObjectEnd:
    """Reads a text up to the brace, none in a string, that closes its first JSON object."""

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

    The whole batch ends, if it is ``leaving``, as soon as enough rows have ended. No stop string
    counts within the block of what a model thinks. ``rows`` are the requests that the batch
    continues. By request, ``length`` is how many tokens it had when it ended, end token included
    (None before), and ``stopped`` tells whether a stop string or a last brace ended it.
    """

    def __init__(
        self,
        encoder: ChatEncoder,
        ends: Sequence[int],
        requests: Sequence[Request],
        leaving: bool,
    ) -> None:
        self.rows: Sequence[int] = []
        self.steps = 0
        self.length: list[int | None] = [None] * len(requests)
        self.stopped = [False] * len(requests)
        self._tokenizer, self._ends = encoder.tokenizer, ends
        self._samplings = [request.sampling for request in requests]
        self._leaving = leaving
        self._before = 0  # steps before those of this batch, less the width that it began with
        self._entered: dict[int, int] = {}  # by request, the steps before its first
        # A stop string spans at most as many tokens as it has bytes; a few more, because decoding
        # may drop a space at the start of the tail.
        longest = [
            max((len(s.encode()) for s in each.stop), default=-4) for each in self._samplings
        ]
        self._tails = [length + 4 for length in longest]
        self._objects = [ObjectEnd() if each.json_object else None for each in self._samplings]
        self._blocks = [Block(encoder.thinking, request.prompt) for request in requests]

    def go_on(self, rows: Sequence[int], width: int) -> int:
        """Take a batch of requests, new ones perhaps among them; return how long it may go on."""
        self.rows, self._before = rows, self.steps - width
        for row in rows:
            self._entered.setdefault(row, self.steps)
        return max(self._samplings[row].max_tokens - self._produced(row) for row in rows)

    def own(self, row: int, ids: torch.Tensor) -> list[int]:
        """Return what a row that has ended wrote, out of all its ids ``[width]``."""
        tokens: list[int] = ids[len(ids) - self._produced(row) :].tolist()
        return tokens[: self.length[row]]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Return which rows are done, bool ``[batch]``; all when it is time to leave."""
        self.steps = self._before + input_ids.shape[1]
        for row, token, ids in zip(self.rows, input_ids[:, -1].tolist(), input_ids, strict=True):
            if self.length[row] is None:
                self._blocks[row].read(token)
                self.stopped[row] = self._stops(row, ids) or self._closes(row, token)
                full = self._produced(row) >= self._samplings[row].max_tokens
                if self.stopped[row] or full or token in self._ends:
                    self.length[row] = self._produced(row)
        done = [self.length[row] is not None for row in self.rows]
        if self._leaving and sum(done) >= max(FEWEST_LEAVING, len(done) / 4):
            done = [True] * len(done)
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def _produced(self, row: int) -> int:
        return self.steps - self._entered[row]

    def _closes(self, row: int, token: int) -> bool:
        """Whether a token closes the object that a row is to end with: none of its block."""
        closing = None if self._blocks[row].is_open else self._objects[row]
        return closing is not None and closing.read(str(self._tokenizer.decode([token])))

    def _stops(self, row: int, ids: torch.Tensor) -> bool:
        """Whether a row's last tokens, none of its block, hold one of its stop strings."""
        block, stop = self._blocks[row], self._samplings[row].stop
        tail = 0 if block.is_open else min(self._tails[row], self._produced(row) - block.length)
        if tail <= 0:
            return False
        text = self._tokenizer.decode(ids[-tail:].tolist(), clean_up_tokenization_spaces=False)
        return any(each in text for each in stop)
