"""Improve an inner predictor of a program, with labels for the program's last answer alone.

    python examples/two_hop.py
    python examples/two_hop.py --both

The first predictor follows a counter, the second goes on from what the first found; the metric sees
the last number alone. The second has a good instruction already and is frozen; the first has
DSPy's own, and learns from what it wrote in runs that ended well. With ``--both`` both begin with
DSPy's own. Then fewer than 5 runs in 100 end well, and better words for one of them hardly show:
what helps is that whole programs race before predictors are searched one by one. The model is the
small one of this repository, in which the effect of words is built in.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import dspy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # so that the script runs from a plain checkout

from dspy_greater import GreaterTeleprompter  # noqa: E402
from dspy_greater.program.predictors import replace_instruction  # noqa: E402
from examples.quickstart import SMALL_MODEL, load  # noqa: E402
from examples.small_model.tasks import TASKS  # noqa: E402

QUESTION = "At the {place} the counter shows {start}. Then {moves}. What does it show?"
#: What the model has seen counters begin with.
STARTS = range(5, 21)
MOVES = 3
TRAIN, VALIDATION, HELD_OUT = 50, 50, 200


class TwoCounters(dspy.Module):
    """Follow a counter at the station, and at the market from where that ended."""

    def __init__(self) -> None:
        super().__init__()
        self.first = dspy.ChainOfThought("question -> answer")
        self.second = dspy.ChainOfThought("question -> answer")

    def forward(self, start: int, moves: str, more: str) -> dspy.Prediction:
        """Answer both questions, the second about the first one's answer."""
        question = QUESTION.format(place="station", start=start, moves=moves)
        between = self.first(question=question).answer
        return self.second(question=QUESTION.format(place="market", start=between, moves=more))


def questions(count: int, seed: int) -> list[dspy.Example]:
    """Return examples with the number at the end, under a name that no predictor has."""
    rng = random.Random(f"two hops {seed}")
    found: list[dspy.Example] = []
    while len(found) < count:
        start = rng.choice(STARTS)
        first, second = (
            [rng.choice((-1, 1)) * rng.randint(1, 9) for _ in range(MOVES)] for _ in range(2)
        )
        between = start + sum(first)
        # A number below zero, or a start that the model never saw, would be another task.
        if between in STARTS and min(_values(start, first) + _values(between, second)) >= 0:
            example = dspy.Example(
                start=start, moves=_told(first), more=_told(second), end=str(between + sum(second))
            )
            found.append(example.with_inputs("start", "moves", "more"))
    return found


def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    """Whether the last number is right."""
    return bool(prediction.answer == example.end)


def main() -> None:
    """Improve the first predictor, or both, and say what it brought."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-tokens", type=int, help="a bound; by default auto='light'")
    parser.add_argument("--both", action="store_true", help="improve both predictors")
    options = parser.parse_args()
    load(SMALL_MODEL)
    examples = questions(TRAIN + VALIDATION + HELD_OUT, options.seed)
    trainset, valset = examples[:TRAIN], examples[TRAIN : TRAIN + VALIDATION]
    held_out = examples[TRAIN + VALIDATION :]
    program: Any = TwoCounters()
    if not options.both:
        good = {"second.predict": TASKS["arithmetic"].good_instruction}
        program = replace_instruction(program, good)
    compiled = GreaterTeleprompter(
        metric=metric,
        frozen=[] if options.both else ["second.predict"],
        seed=options.seed,
        max_tokens=options.max_tokens,
    ).compile(program, trainset=trainset, valset=valset)
    evaluate = dspy.Evaluate(
        devset=held_out, metric=metric, num_threads=128, display_progress=False
    )
    before, after = evaluate(program).score, evaluate(compiled).score
    print(f"{HELD_OUT} held-out questions: {before} % -> {after} %")
    for name, predictor in compiled.named_predictors():
        print(f"  {name}: {predictor.signature.instructions!r}")
    record = compiled.detailed_results
    print(f"  {record.seconds:.0f} s, {record.total_calls} runs of the program")


def _values(start: int, moves: list[int]) -> list[int]:
    """Return what the counter shows after each move."""
    return [start + sum(moves[: n + 1]) for n in range(len(moves))]


def _told(moves: list[int]) -> str:
    return ", ".join(f"{'add' if move > 0 else 'subtract'} {abs(move)}" for move in moves)


if __name__ == "__main__":
    main()
