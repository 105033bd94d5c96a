"""How many validation examples: what is verified better is searched worse, at equal runs.

    python -m examples.benchmark shares

A compile with bounds is simulated: the start is run on training and validation examples, a race is
fitted to what the verdict leaves, and the verdict chooses, all by the package's own sizes and
rules. Half of the instructions have a true spread of --spread points, the others of 3; their mean
is the start's, or --ahead spreads below it. In the table: what is gained in points, and how often
the choice is 3 points or more worse than the start. No model is asked.
"""

from __future__ import annotations

import argparse
from statistics import mean

import numpy as np

from dspy_greater.loop import FEWEST_VALIDATED, FINALISTS, VALIDATED, VERDICTS_SHARE
from dspy_greater.search import ScoreBoard, Scores
from dspy_greater.search.verified.race import Race
from examples.benchmarks.common import markdown
from examples.benchmarks.drawing import answered
from examples.benchmarks.replay import HARM, ours

#: Training examples, validation examples given, instructions, the start's share of right answers,
#: the spread of the other half of instructions, and how much alike scores are on a question.
TRAIN, GIVEN, INSTRUCTIONS, LEVEL, NARROW, ALIKE = 50, 100, 24, 0.3, 0.03, 0.3
SHARES = (VALIDATED, 1 / 8, 1 / 13)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--runs", type=int, nargs="+", default=[260, 340, 500, 800])
    parser.add_argument("--spread", type=float, default=6.0, help="in points")
    parser.add_argument("--ahead", type=float, default=0.0, help="of the start, in spreads")
    parser.add_argument("--times", type=int, default=2000)


def run(options: argparse.Namespace) -> str:
    """Simulate each number of runs with each share and return a table."""
    rows = []
    for runs in options.runs:
        sizes = [max(FEWEST_VALIDATED, min(GIVEN, int(share * runs))) for share in SHARES]
        found = [simulate(runs, n, options.spread, options.ahead, options.times) for n in sizes]
        all_of_them = simulate(runs, GIVEN, options.spread, options.ahead, options.times)
        rows.append([str(runs), *map(_told, [*found, all_of_them])])
    names = [f"1/{1 / share:.0f}" for share in SHARES]
    return markdown(["runs", *names, f"all {GIVEN}"], rows)


def simulate(runs: int, validation: int, spread: float, ahead: float, times: int) -> list[float]:
    """Return what compiles gain in points, each with other instructions; none without a race."""
    paid = runs - TRAIN - validation
    looks = max(1, int(min(FINALISTS, VERDICTS_SHARE * paid / validation)))
    # No program is run: the race only says how long it is, and how many may enter.
    board = ScoreBoard(Scores(), None, TRAIN, affordable=lambda: paid - looks * validation)  # type: ignore[arg-type]
    race, count = Race(board, range(TRAIN)).fitted(INSTRUCTIONS)
    if not count:
        return []
    rng, rule = np.random.default_rng(0), ours(0.5, looks)
    spreads = np.where(np.arange(INSTRUCTIONS) % 2, spread / 100, NARROW)
    gains = []
    for _ in range(times):
        worth = LEVEL + spreads * (rng.standard_normal(INSTRUCTIONS) - ahead)
        worth = np.array([LEVEL, *rng.permutation(worth)]).clip(0.01, 0.99)
        scores = answered(worth, TRAIN + validation, ALIKE, rng)[: 1 + count]
        chosen = rule(scores[:, : len(race.order)], scores[:, TRAIN:])
        gains.append(100 * float(worth[chosen] - worth[0]))
    return gains


def _told(gains: list[float]) -> str:
    if not gains:
        return "no race"
    return f"{mean(gains):+.1f}, {mean(gain <= -HARM for gain in gains):.1%}"
