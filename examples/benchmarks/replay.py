"""Rules of choosing an instruction, replayed on a score matrix.

    python -m examples.benchmark replay --scores examples/results/matrix.jsonl

A task's questions are split anew many times, into training, validation and held-out ones. Each rule
sees the scores of all instructions on the first two and chooses; what counts is its choice on the
third. No model is asked. Rules: *today*, the gate of a race, the validation veto and the verdict
at p <= .05; *validation maximum*, which other optimizers return; *pooled maximum*, the best on
training and validation questions together; *likely*, the best on training questions if it beats the
program on validation at p <= .2; *oracle*, the best on the held-out questions themselves.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dspy_greater.search import compare
from dspy_greater.search.acceptance import Comparison
from examples.benchmarks.common import RESULTS, bootstrap, markdown
from examples.benchmarks.matrix import SIDES

Scores = NDArray[np.float64]
#: Chooses a row of the training scores and of the validation scores, ``[instructions, questions]``;
#: the first row is the program's own instruction.
Rule = Callable[[Scores, Scores], int]

#: Standard errors by which a race's winner beats the program; the verdict's and the lenient level.
GATE, STRICT, LENIENT = 2.0, 0.05, 0.2
#: Points on held-out questions below which a choice did harm.
HARM = 3.0


def today(train: Scores, validation: Scores) -> int:
    """Choose as a race of whole instructions and the verdict do, without a look at fluency."""
    proven = [i for i in range(1, len(train)) if _compared(train, i).exceeds(GATE)]
    if not proven:
        return 0
    best = max(proven, key=lambda i: train[i].mean())
    return best if _compared(validation, best).p_value <= STRICT else 0


def _compared(scores: Scores, index: int) -> Comparison:
    """Compare an instruction with the program's own."""
    return compare(scores[index].tolist(), scores[0].tolist())


def validation_maximum(train: Scores, validation: Scores) -> int:
    """Choose the best on validation; the program's own among equals."""
    return int(np.argmax(validation.mean(axis=1)))


def pooled_maximum(train: Scores, validation: Scores) -> int:
    """Choose the best on all that was seen."""
    return validation_maximum(train, np.concatenate([train, validation], axis=1))


def likely(train: Scores, validation: Scores) -> int:
    """Choose the best on training questions if it probably holds on validation."""
    best = int(np.argmax(train.mean(axis=1)))
    return best if _compared(validation, best).p_value <= LENIENT else 0


RULES: dict[str, Rule] = {
    "today": today,
    "validation maximum": validation_maximum,
    "pooled maximum": pooled_maximum,
    "likely": likely,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--scores", type=Path, default=RESULTS / "matrix.jsonl")
    parser.add_argument("--train", type=int, default=20)
    parser.add_argument("--validation", type=int, default=20)
    parser.add_argument("--splits", type=int, default=500)


def run(options: argparse.Namespace) -> str:
    """Replay the rules and return a table."""
    cases = [json.loads(line) for line in options.scores.read_text().splitlines()]
    places = list(dict.fromkeys((case["model"], case["task"]) for case in cases))
    gains: dict[str, list[list[float]]] = {rule: [] for rule in (*RULES, "oracle")}
    for model, task in places:
        mine = [case for case in cases if (case["model"], case["task"]) == (model, task)]
        scores = matrix_of(mine)
        for rule, found in replay(
            scores, options.train, options.validation, options.splits
        ).items():
            gains[rule].append(found)
    rows = [[rule, *_row(by_task)] for rule, by_task in gains.items()]
    header = ["rule", "gain, points [95 % over tasks]", f"worse by {HARM:g} or more"]
    return markdown(header, rows)


def matrix_of(cases: Sequence[dict[str, Any]]) -> Scores:
    """Return the scores of a task's instructions, the program's own first."""
    own = sorted(cases, key=lambda case: case["source"] != "default")
    return np.array([[v for side in SIDES for v in case[f"{side}_score"]] for case in own])


def replay(scores: Scores, train: int, validation: int, splits: int) -> dict[str, list[float]]:
    """Return what each rule gains, in points, on the held-out questions of each split."""
    questions = scores.shape[1]
    if train + validation >= questions:
        raise SystemExit(
            f"{questions} questions leave none held out: lower --train or --validation"
        )
    rng = np.random.default_rng(0)
    gains: dict[str, list[float]] = {rule: [] for rule in (*RULES, "oracle")}
    for _ in range(splits):
        order = rng.permutation(questions)
        seen, checked, rest = np.split(order, [train, train + validation])
        held_out = 100 * scores[:, rest].mean(axis=1)
        for name, rule in RULES.items():
            gains[name].append(held_out[rule(scores[:, seen], scores[:, checked])] - held_out[0])
        gains["oracle"].append(held_out.max() - held_out[0])
    return gains


def _row(by_task: Sequence[Sequence[float]]) -> list[str]:
    middle, low, high = bootstrap([mean(gains) for gains in by_task])
    every = [gain for gains in by_task for gain in gains]
    harmed = np.mean([gain <= -HARM for gain in every])
    return [f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]", f"{harmed:.0%}"]
