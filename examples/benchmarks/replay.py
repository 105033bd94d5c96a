"""Rules of choosing an instruction, replayed on a score matrix.

    python -m examples.benchmark replay --scores examples/results/matrix.jsonl

A task's questions are split anew many times, into training, validation and held-out ones; with
--drawn training and validation questions are drawn with replacement, as many as a user would have,
and all questions together are the truth (which counts the luck of these few as an instruction's
own). Each rule sees the scores of all instructions on the first two and chooses; what counts is its
choice on the third. No model is asked. Rules: *this project's*, its race and its verdict;
*strict*, the same at confidence 0.95; *earlier*, until that: a gain of two standard errors in the
race and p <= .05; *validation maximum*, which other optimizers return; *pooled maximum*, the best
on training and validation questions together; *oracle*, the best on the held-out questions
themselves.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from dspy_greater.loop import FINALISTS
from dspy_greater.search import compare
from dspy_greater.search.acceptance import Comparison, sign_flip_p_values
from dspy_greater.search.verified.race import going_on, next_stop
from examples.benchmarks.common import RESULTS, bootstrap, markdown
from examples.benchmarks.matrix import scores_of

Scores = NDArray[np.float64]
#: Chooses a row of the training scores and of the validation scores, ``[instructions, questions]``;
#: the first row is the program's own instruction.
Rule = Callable[[Scores, Scores], int]

#: The earlier rule's standard errors and level.
GATE, LEVEL = 2.0, 0.05
#: Points on held-out questions below which a choice did harm, and from which on a task has room.
HARM, ROOM = 3.0, 5.0


def ours(confidence: float) -> Rule:
    """Return this project's rule at some confidence."""

    def rule(train: Scores, validation: Scores) -> int:
        own = train[0].mean()
        finalists = [i for i in raced(train)[:FINALISTS] if train[i].mean() > own]
        if not finalists:
            return 0
        gains = validation[finalists] - validation[0]
        p_values = sign_flip_p_values(gains)
        pairs = zip(gains.mean(axis=1), p_values, finalists, strict=True)
        proven = [(gain, i) for gain, p_value, i in pairs if p_value <= 1 - confidence]
        return max(proven, key=lambda pair: pair[0])[1] if proven else 0

    return rule


def raced(train: Scores) -> list[int]:
    """Return the instructions that reach the end of a race, the best first."""
    racing, done, total = list(range(1, len(train))), 0, train.shape[1]
    while done < total:
        done = next_stop(done, len(racing), total)
        racing.sort(key=lambda index: -train[index, :done].sum())
        if done < total:
            del racing[going_on(len(racing)) :]
    return racing


def earlier(train: Scores, validation: Scores) -> int:
    """Choose as a race and the verdict did before, without a look at fluency."""
    compared = {i: _compared(train, i) for i in range(1, len(train))}
    proven = [i for i, c in compared.items() if c.gain > max(0, GATE * c.standard_error)]
    if not proven:
        return 0
    best = max(proven, key=lambda i: train[i].mean())
    return best if _compared(validation, best).p_value <= LEVEL else 0


def _compared(scores: Scores, index: int) -> Comparison:
    """Compare an instruction with the program's own."""
    return compare(scores[index].tolist(), scores[0].tolist())


def validation_maximum(train: Scores, validation: Scores) -> int:
    """Choose the best on validation; the program's own among equals."""
    return int(np.argmax(validation.mean(axis=1)))


def pooled_maximum(train: Scores, validation: Scores) -> int:
    """Choose the best on all that was seen."""
    return validation_maximum(train, np.concatenate([train, validation], axis=1))


RULES: dict[str, Rule] = {
    "this project's": ours(0.8),
    "strict": ours(0.95),
    "earlier": earlier,
    "validation maximum": validation_maximum,
    "pooled maximum": pooled_maximum,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--scores", type=Path, default=RESULTS / "matrix.jsonl")
    parser.add_argument("--train", type=int, default=20)
    parser.add_argument("--validation", type=int, default=20)
    parser.add_argument("--splits", type=int, default=500)
    parser.add_argument("--drawn", action="store_true", help="draw with replacement")


def run(options: argparse.Namespace) -> str:
    """Replay the rules and return a table."""
    cases = [json.loads(line) for line in options.scores.read_text().splitlines()]
    places = list(dict.fromkeys((case["model"], case["task"]) for case in cases))
    gains: dict[str, list[list[float]]] = {rule: [] for rule in (*RULES, "oracle")}
    rooms = []
    for model, task in places:
        mine = [case for case in cases if (case["model"], case["task"]) == (model, task)]
        scores = scores_of(mine)
        means = 100 * scores.mean(axis=1)
        rooms.append(means.max() - means[0] >= ROOM)
        sizes = (options.train, options.validation, options.splits)
        for rule, found in replay(scores, *sizes, drawn=options.drawn).items():
            gains[rule].append(found)
    header = ["rule"]
    columns: list[list[str]] = [list(gains)]
    for has_room, name in ((True, "with room"), (False, "without")):
        header += [f"{rooms.count(has_room)} tasks {name}: gain", f"worse by {HARM:g} or more"]
        kept = [
            [found for found, room in zip(by_task, rooms, strict=True) if room == has_room]
            for by_task in gains.values()
        ]
        columns += [list(column) for column in zip(*map(_row, kept), strict=True)]
    return markdown(header, list(map(list, zip(*columns, strict=True))))


def replay(
    scores: Scores, train: int, validation: int, splits: int, drawn: bool = False
) -> dict[str, list[float]]:
    """Return what each rule gains, in points, on the held-out questions of each split."""
    questions = scores.shape[1]
    if not drawn and train + validation >= questions:
        raise SystemExit(
            f"{questions} questions leave none held out: lower --train or --validation"
        )
    rng = np.random.default_rng(0)
    gains: dict[str, list[float]] = {rule: [] for rule in (*RULES, "oracle")}
    for _ in range(splits):
        if drawn:
            seen, checked = (rng.integers(0, questions, size) for size in (train, validation))
            rest = np.arange(questions)
        else:
            order = rng.permutation(questions)
            seen, checked, rest = np.split(order, [train, train + validation])
        held_out = 100 * scores[:, rest].mean(axis=1)
        for name, rule in RULES.items():
            gains[name].append(held_out[rule(scores[:, seen], scores[:, checked])] - held_out[0])
        gains["oracle"].append(held_out.max() - held_out[0])
    return gains


def _row(by_task: Sequence[Sequence[float]]) -> list[str]:
    if not by_task:
        return ["", ""]
    middle, low, high = bootstrap([mean(gains) for gains in by_task])
    every = [gain for gains in by_task for gain in gains]
    harmed = np.mean([gain <= -HARM for gain in every])
    return [f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]", f"{harmed:.0%}"]
