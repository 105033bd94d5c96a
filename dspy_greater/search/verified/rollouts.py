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
