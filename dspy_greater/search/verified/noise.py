"""How much a score changes by itself."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspy_greater.search.programs import Program
    from dspy_greater.search.scores import ScoreBoard


def noise_floor(board: ScoreBoard, program: Program, order: Sequence[int]) -> float:
    """Return the mean absolute change of a score when the same prompt is run once more.

    Half of the examples are run, the other way round, in batches of another make-up.

    Args:
        board: Has the program's scores.
        program: What is run once more.
        order: Indices of training examples.
    """
    again = list(reversed(order[: (len(order) + 1) // 2]))
    runs, scores = board.runner.repeat(program, again), board.training_scores(program, again)
    return mean(abs(run.score - score) for run, score in zip(runs, scores, strict=True))
