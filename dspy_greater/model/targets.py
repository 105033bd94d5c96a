"""Sequences with positions to score, and what is known of them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dspy_greater.basics.spans import Span


@dataclass(frozen=True)
class Targeted:
    """One sequence with positions to score.

    Attributes:
        ids: Token ids of the whole sequence.
        targets: Token positions whose log-probability is asked: ``log p(ids[t] | ids[:t])``.
        inputs: Positions whose embedding gradient is asked (for gradients only).
    """

    ids: Sequence[int]
    targets: Span
    inputs: Span | None = None

    @property
    def rows(self) -> range:
        """Positions whose logits predict the targets."""
        return range(self.targets.start - 1, self.targets.end - 1)


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


def check_spans(index: int, item: Targeted) -> None:
    """Refuse an item whose targets or inputs lie where there are none; ``index`` names it."""
    length = len(item.ids)
    if not 1 <= item.targets.start <= item.targets.end <= length:
        raise ValueError(
            f"Item {index}: targets [{item.targets.start}, {item.targets.end}) must lie in "
            f"[1, {length}): a first token has nothing to be predicted from."
        )
    inputs = item.inputs or Span(0, 0)
    if not 0 <= inputs.start <= inputs.end <= length:
        raise ValueError(f"Item {index}: inputs [{inputs.start}, {inputs.end}) lie outside.")


def target_ids(items: Sequence[Targeted]) -> torch.Tensor:
    """Return the target token ids of all items, one item after another; ``[rows]``."""
    return torch.tensor(
        [token for item in items for token in item.ids[slice(*item.targets)]], dtype=torch.long
    )


def log_probs_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Turn logits ``[rows, vocab]`` into log-probabilities ``[rows]`` of the targets.

    Unlike a log-softmax it needs no second tensor of that size.
    """
    chosen = logits.gather(1, targets.to(logits.device)[:, None])[:, 0]
    return chosen - torch.logsumexp(logits, dim=-1)
