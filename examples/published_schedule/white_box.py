"""A white box that gives gradients, too, and the distribution of the next token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import Targeted, WhiteBox
from dspy_greater.model.batching import Size, in_batches
from dspy_greater.model.forward import at_least_float32
from dspy_greater.model.prefix import Prefix
from dspy_greater.model.requests import log_probs_of

COST = 4  # of a token relative to one that is only read: a gradient keeps all activations


@dataclass(frozen=True)
class Gradient:
    """Log-probabilities of one sequence's targets and the gradient of their loss.

    Attributes:
        log_probs: ``[targets]`` float32 on the CPU, at temperature 1.
        loss: Mean of ``-log p`` over the targets, at the temperature asked for.
        positions: ``[inputs, hidden]`` float32 on the CPU: d loss / d embedding-layer output.
    """

    log_probs: torch.Tensor
    loss: float
    positions: torch.Tensor

    @property
    def finite(self) -> bool:
        """Whether nothing in it is NaN or infinite."""
        return math.isfinite(self.loss) and bool(self.positions.isfinite().all())


class GradientBox(WhiteBox):
    """The same model, weights frozen: gradients are those at the embedding layer's output."""

    @classmethod
    def of(cls, box: WhiteBox) -> GradientBox:
        """Return the package's white box, with its lock and counts; another has its own ways."""
        if type(box) is not WhiteBox:
            return cast(GradientBox, box)
        twin = cls.__new__(cls)
        vars(twin).update(vars(box))
        return twin

    def gradients(self, items: Sequence[Targeted], *, temperature: float = 1.0) -> list[Gradient]:
        """Return the gradient of each item's mean target loss at its input positions."""
        self._check(items, temperature)
        for index, item in enumerate(items):
            inputs = item.inputs or Span(0, 0)
            if not 0 <= inputs.start <= inputs.end <= len(item.ids):
                raise ValueError(f"Item {index}: inputs lie outside, at {inputs}.")
            if item.targets.start == item.targets.end:
                raise ValueError(f"Item {index} has no targets, so its loss is undefined.")
        # No gradient reaches back into a prefix.
        most = [min(each.targets.start - 1, (each.inputs or each.targets).start) for each in items]
        work = partial(self._gradients_batch, temperature=temperature)
        budget = Size(max(1, self._budget.tokens // COST), self._budget.logits // COST)
        return self._behind_prefixes(items, most, work, budget, "gradient")

    def next_log_probs(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return log-probabilities of the token after each sequence.

        They are ``[batch, vocab]``, float32 on the CPU.
        """
        for sequence in sequences:
            self._check_length(len(sequence))
        sizes = [Size(len(sequence), self.vocab_size) for sequence in sequences]
        with self._working("score"):
            rows = in_batches(sequences, sizes, self._budget, self._next_batch)
        return torch.stack(rows) if rows else torch.empty(0, self.vocab_size)

    def _gradients_batch(
        self, items: list[Targeted], temperature: float, prefix: Prefix | None
    ) -> list[Gradient]:
        lengths = [len(item.rows) for item in items]
        start = prefix.lengths[0] if prefix else 0
        with torch.enable_grad(), self._leaf() as leaves:
            logits = at_least_float32(
                self._forward([i.ids for i in items], [i.rows for i in items], prefix=prefix)
            )
            # Means by sequence: its gradient must not depend on what it is batched with.
            tempered = log_probs_of(logits / temperature, items)
            losses = torch.stack([-part.mean() for part in tempered.split(lengths)])
            # float16 underflows below 6e-8, where such gradients live; a power of two is exact.
            scale = 1024.0 if leaves[0].dtype == torch.float16 else 1.0
            (gradient,) = torch.autograd.grad(losses.sum() * scale, leaves)
        log_probs = log_probs_of(logits.detach(), items).float().cpu().split(lengths)
        self.counts.targets_backward += len(logits)
        self.counts.tokens_backward += sum(len(item.ids) - start for item in items)
        results = []
        for row, (item, loss) in enumerate(zip(items, losses.tolist(), strict=True)):
            span = item.inputs or Span(start, start)
            positions = gradient[row, span.start - start : span.end - start].float() / scale
            results.append(Gradient(log_probs[row].clone(), loss, positions.cpu()))
        return results

    @contextmanager
    def _leaf(self) -> Iterator[list[torch.Tensor]]:
        """Let the embedding's output be a leaf that asks for a gradient, the only one computed."""
        leaves: list[torch.Tensor] = []

        def swap(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            leaves.append(output.detach().requires_grad_(True))
            return leaves[-1]

        with self.model.get_input_embeddings().register_forward_hook(swap):
            yield leaves

    def _next_batch(self, sequences: list[Sequence[int]]) -> list[torch.Tensor]:
        rows = [range(len(sequence) - 1, len(sequence)) for sequence in sequences]
        with torch.no_grad():
            log_probs = torch.log_softmax(at_least_float32(self._forward(sequences, rows)), dim=-1)
        self.counts.targets_forward += len(log_probs)
        self.counts.tokens_forward += sum(len(sequence) for sequence in sequences)
        return list(log_probs.float().cpu())
