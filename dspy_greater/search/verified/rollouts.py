"""The current program's runs, from which the model is told what there is to gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dspy_greater.program import Run
from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.view import PredictorView


@dataclass(frozen=True)
class Rollouts:
    """Runs under one instruction, each with its example."""

    instruction: str
    examples: tuple[int, ...]
    runs: tuple[Run, ...]


def greedy(
    board: ScoreBoard, view: PredictorView, program: Program, order: Sequence[int]
) -> Rollouts:
    """Return a program's greedy runs on all training examples."""
    return Rollouts(program[view.name], tuple(order), tuple(board.runs(program, order)))


def solved(view: PredictorView, rollouts: Rollouts, count: int) -> list[tuple[int, ...]]:
    """Return contexts of the first examples of which a run got it right, with that run."""
    pairs = zip(rollouts.examples, rollouts.runs, strict=True)
    right = [(example, run) for example, run in pairs if run.score >= 1][:count]
    return view.contexts([example for example, _ in right], [run for _, run in right])
