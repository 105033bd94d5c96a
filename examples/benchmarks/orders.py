"""In which order a race asks its questions, replayed on a score matrix.

    python -m examples.benchmark orders --scores examples/results/matrix.jsonl

Half of a task's instructions race in an order by chance, as in a first step; the other half then
race in another such order, or with the questions first on which those before differed. Both run
equally many programs on equally many questions. What counts is how often the winner is the best of
its half on all questions. No model is asked; splits are new each time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from dspy_greater.program import Run
from dspy_greater.search import Program, ScoreBoard, Scores
from dspy_greater.search.verified.race import Race
from examples.benchmarks.common import RESULTS, bootstrap, markdown
from examples.benchmarks.matrix import scores_of

#: The only predictor's name; the number of a row is its instruction.
NAME = "self"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--scores", type=Path, default=RESULTS / "matrix.jsonl")
    parser.add_argument("--train", type=int, default=40, help="questions of a race")
    parser.add_argument("--splits", type=int, default=300)


def run(options: argparse.Namespace) -> str:
    """Replay races on every task where instructions differ at all, and return a table."""
    cases = [json.loads(line) for line in options.scores.read_text().splitlines()]
    places = dict.fromkeys((case["model"], case["task"]) for case in cases)
    matrices = [
        scores_of([case for case in cases if (case["model"], case["task"]) == place])
        for place in places
    ]
    won = [wins(m, options.train, options.splits) for m in matrices if m.std(axis=0).any()]
    chance, differing = (100 * mean(each) for each in zip(*won, strict=True))
    more, low, high = bootstrap([100 * (second - first) for first, second in won])
    rows = [
        ["by chance", f"{chance:.0f}", ""],
        ["differing first", f"{differing:.0f}", f"{more:+.0f} [{low:+.0f}, {high:+.0f}]"],
    ]
    return markdown(["questions", f"best wins, % ({len(won)} tasks)", "more often"], rows)


def wins(scores: NDArray[np.float64], train: int, splits: int) -> tuple[float, float]:
    """Return how often the best wins: by chance, and with differing questions first.

    Args:
        scores: Of a task's instructions, ``[instructions, questions]``, the program's own first.
    """
    rng, won = np.random.default_rng(0), np.zeros(2)
    for _ in range(splits):
        seen = scores[:, rng.permutation(scores.shape[1])[:train]]
        first, second = np.array_split(rng.permutation(np.arange(1, len(seen))), 2)
        start, board = program_of(0), ScoreBoard(Scores(), _Known(seen), train)
        order = rng.permutation(train).tolist()
        board.train([start], order)
        Race(board, order).run([program_of(row) for row in first], start)
        best = seen[second].mean(axis=1).max()
        for way, questions in enumerate(
            (rng.permutation(train).tolist(), board.differing_first(order))
        ):
            race = Race(deepcopy(board), questions)
            winner, *_ = race.run([program_of(row) for row in second], start)
            won[way] += seen[int(winner[NAME])].mean() == best
    chance, differing = won / splits
    return float(chance), float(differing)


def program_of(row: int) -> Program:
    """Return the program of a row of the matrix."""
    return Program.of({NAME: str(row)})


@dataclass
class _Known:
    """Runs programs by looking them up."""

    scores: NDArray[np.float64]

    def run(
        self, wanted: Mapping[Program, Sequence[int]], limit: int | None = None
    ) -> list[list[Run]]:
        return [
            [Run(float(self.scores[int(program[NAME]), index]), None) for index in examples]
            for program, examples in wanted.items()
        ]

    def validate(self, programs: Sequence[Program]) -> list[list[float]]:
        return [[]] * len(programs)
