"""Generation by ``model.generate``, in micro-batches under a token budget."""

from __future__ import annotations

from collections.abc import Sequence

from dspy_greater.cost.counts import Counts
from dspy_greater.model.batching import BatchLimit, Size, in_batches
from dspy_greater.model.forward import Forward
from dspy_greater.model.generation import Begun, Decoder, generate
from dspy_greater.model.padding import reads_past_padding
from dspy_greater.model.requests import Generation, Request

#: What a token still to be generated costs, relative to one that is read: its place in the cache.
DECODED_COST = 0.25


class BatchedGeneration:
    """Continues prompts in micro-batches, which read once what prompts share.

    Args:
        decoder: The model.
        forward: The same, to read beginnings with.
        budget: The most that one micro-batch may cost.
        shares: Whether the model can go on from beginnings that were read once.
    """

    def __init__(
        self, decoder: Decoder, forward: Forward, budget: BatchLimit, *, shares: bool
    ) -> None:
        self._decoder, self._forward, self._budget = decoder, forward, budget
        rows = decoder.model.get_input_embeddings().weight.shape[0]
        self._mixes = reads_past_padding(decoder, rows)
        # Behind shared beginnings what is left of the prompts differs in length.
        self._begins = shares and self._mixes

    def generate(self, requests: Sequence[Request], counts: Counts) -> list[Generation]:
        """Continue each prompt by its own settings, and count the work."""
        results: dict[int, Generation] = {}
        for rows in self._mixable(requests):
            members = [requests[row] for row in rows]
            sizes = [
                Size(len(each.prompt) + int(DECODED_COST * each.sampling.max_tokens))
                for each in members
            ]
            done = in_batches(
                members, sizes, self._budget, lambda batch: self._batch(batch, counts)
            )
            results.update(zip(rows, done, strict=True))
        return [results[row] for row in range(len(requests))]

    def _batch(self, requests: list[Request], counts: Counts) -> list[Generation]:
        prompts = [request.prompt for request in requests]
        begun = Begun.of(self._forward, prompts) if self._begins else None
        done = generate(self._decoder, requests, begun)
        _count(counts, requests, done)
        if begun:
            counts.tokens_prompt += begun.tokens - sum(begun.starts)
        return done

    def _mixable(self, requests: Sequence[Request]) -> list[list[int]]:
        """Group the requests that may share a batch: all, or those of one length."""
        lengths: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            lengths.setdefault(0 if self._mixes else len(request.prompt), []).append(index)
        return list(lengths.values())


def _count(counts: Counts, requests: Sequence[Request], done: Sequence[Generation]) -> None:
    """Count requests that were generated together, each prompt as if it was read in full."""
    lengths = [len(generation.ids) for generation in done]
    prompts = [len(request.prompt) for request in requests]
    counts.rollouts += len(done)
    counts.tokens_prompt += sum(prompts)
    counts.tokens_decoded += sum(lengths)
    counts.decoding_steps += max(lengths)
    counts.keys_read += sum(
        length * prompt + length * (length + 1) // 2
        for length, prompt in zip(lengths, prompts, strict=True)
    )
