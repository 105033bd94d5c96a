"""What an edit would be worth: to first order from one backward pass, or exactly from a forward.

Both are about cached rollouts; nothing is generated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dspy_greater.model import WhiteBox
from dspy_greater.search.verified.objectives import Term, with_tokens


@dataclass(frozen=True)
class ObjectiveGradient:
    """An objective's value, ``sum_i w_i * mean_t log p``, and its gradient at an instruction.

    ``positions``, ``[positions, hidden]``, is d value / d embedding-layer output; ``skipped`` terms
    were not finite.
    """

    value: float
    positions: torch.Tensor
    skipped: int


def slope(model: WhiteBox, terms: Sequence[Term]) -> ObjectiveGradient | None:
    """Take value and gradient in one pass; None when no term is finite."""
    gradients = model.gradients([term.item for term in terms])
    kept = [
        (term.weight, gradient)
        for term, gradient in zip(terms, gradients, strict=True)
        if math.isfinite(gradient.loss) and bool(gradient.positions.isfinite().all())
    ]
    if not kept:
        return None
    # The white box gives losses; an objective is to be raised.
    value = -sum(weight * gradient.loss for weight, gradient in kept)
    total = torch.zeros_like(kept[0][1].positions)
    for weight, gradient in kept:
        total -= weight * gradient.positions
    return ObjectiveGradient(value, total, len(terms) - len(kept))


def exact(
    model: WhiteBox, terms: Sequence[Term], candidates: Sequence[Sequence[int]]
) -> list[float]:
    """Return the objective's value under each candidate's tokens; NaN where it is not finite."""
    items = [with_tokens(term.item, tokens) for tokens in candidates for term in terms]
    log_probs = iter(model.log_probs(items))
    return [sum(term.weight * float(next(log_probs).mean()) for term in terms) for _ in candidates]


def own_log_probs(
    model: WhiteBox, tokens: Sequence[int], contexts: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return how the model itself would go on at each position of an instruction.

    That is ``[positions + 1, vocab]``: the mean over contexts, which stand before it, of
    ``log p(. | x, p_<i)``; the last row continues the whole instruction.
    """
    sequences = [(*context, *tokens) for context in contexts]
    return model.next_log_probs(sequences, last=len(tokens) + 1).mean(dim=0)


def substitutions(
    model: WhiteBox, gradient: torch.Tensor, tokens: Sequence[int], candidates: Sequence[int]
) -> torch.Tensor:
    """Return the first-order gain of each candidate token over each position's own token.

    ``gradient``, ``[positions, hidden]``, is of a value to be raised; gains are
    ``[positions, candidates]``.
    """
    there = model.substitution(gradient, candidates)
    here = model.substitution(gradient, tokens).diagonal()
    return there - here[:, None]
