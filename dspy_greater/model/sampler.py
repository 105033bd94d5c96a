"""Each row's next token, by that row's own settings.

A seeded row draws from a generator of its own, by Gumbel-max: ``argmax(log p - log E)`` with
``E ~ Exp(1)`` is a sample from p, and the same noise gives the same token whatever else is in the
batch, as long as the log-probabilities agree but for rounding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from dspy_greater.model.forward import at_least_float32
from dspy_greater.model.requests import Request, Sampling, TokenLogProb


class RowSampler(LogitsProcessor):
    """Leaves each row only the chosen token's score, for the greedy search that follows.

    Attributes:
        rows: Which request each row of the batch continues.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.rows = list(range(len(requests)))
        self._requests = requests
        self._generators: dict[int, torch.Generator] = {}
        wanted = [r.sampling.logprobs for r in requests if r.sampling.logprobs is not None]
        self._alternatives = max(wanted, default=None)
        self._steps: list[tuple[list[int], torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``[batch, vocab]`` in which only the chosen token is possible.

        They stay as they are where every row is greedy and no record is asked for.
        """
        sampled = [
            at for at, row in enumerate(self.rows) if self._requests[row].sampling.temperature > 0
        ]
        if not sampled and self._alternatives is None:
            return scores
        log_probs = torch.log_softmax(at_least_float32(scores), dim=-1)
        chosen = log_probs.argmax(dim=-1)
        if sampled:
            places = torch.tensor(sampled, device=scores.device)
            chosen[places] = self._draw(log_probs[places], [self.rows[at] for at in sampled])
        if self._alternatives is not None:
            top = log_probs.topk(min(self._alternatives, log_probs.shape[-1]), dim=-1)
            of_chosen = log_probs.gather(1, chosen[:, None])[:, 0]
            self._steps.append((self.rows, of_chosen, top.values, top.indices))
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    def record(
        self, row: int, ids: Sequence[int], count: int | None
    ) -> tuple[TokenLogProb, ...] | None:
        """Return what was recorded of a request's tokens, with ``count`` alternatives each."""
        if count is None:
            return None
        records = []
        for token, (rows, chosen, top, top_ids) in zip(ids, self._steps, strict=False):
            at = rows.index(row)
            pairs = zip(top_ids[at, :count].tolist(), top[at, :count].tolist(), strict=True)
            records.append(TokenLogProb(token, float(chosen[at]), tuple(pairs)))
        return tuple(records)

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
                request = self._requests[row]
                own = generator(request.sampling.seed, request.prompt, log_probs.device)
                self._generators[row] = own
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
    """Return a random generator of one row's own, by its seed and its prompt.

    Rows that share a seed alone would all err in the same direction.
    """
    if seed is None:
        seed = int(torch.randint(2**62, ()))
    text = f"{seed} {list(prompt)}".encode()
    own = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") % 2**63
    return torch.Generator(device=device).manual_seed(own)
