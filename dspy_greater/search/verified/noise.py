"""How much a score changes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspy_greater.search.protocols import Subject


def noise_floor(
    subject: Subject, instruction: str, order: Sequence[int], scores: Sequence[float]
) -> float:
    """Return the mean absolute change of a score when the same prompt is run once more.

    Half of the examples are run, the other way round, in batches of another make-up.

    Args:
        subject: The predictor.
        instruction: What was run.
        order: Indices of training examples.
        scores: What it scored on each of them.
    """
    half = range((len(order) + 1) // 2)
    again = subject.repeat(instruction, [order[i] for i in reversed(half)])
    return mean(abs(run.score - scores[i]) for i, run in zip(reversed(half), again, strict=True))
