"""Rules of choosing an instruction, replayed on a score matrix.

    python -m examples.benchmark replay --scores examples/results/matrix.jsonl

Many times training and validation examples are drawn (--examples): *split*, from a task's
questions, of which the rest is held out; *again*, with replacement, as many as a user would have;
*simulated*, from a model fitted to the task, in which the truth is known. Each rule sees the scores
of all instructions on them and chooses; what counts is what its choice is worth. No model is asked.
Rules: *this project's*, its race and its verdict; *likely* and *strict*, the same at confidence 0.8
and 0.95; *any gain*, the same without a test; *earlier*, until that: a gain of two standard errors
in the race and p <= .05; *validation maximum*, which other optimizers return; *pooled maximum*, the
best on training and validation examples together; *oracle*, the best there is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from statistics import mean

import numpy as np

from dspy_greater.loop import FINALISTS
from dspy_greater.search import compare
from dspy_greater.search.acceptance import Comparison, sign_flip_p_values
from dspy_greater.search.verified.race import going_on, next_stop
from examples.benchmarks.common import RESULTS, bootstrap, markdown
from examples.benchmarks.drawing import Draw, Scores, again, simulated, split
from examples.benchmarks.matrix import scores_of

#: Chooses a row of the training scores and of the validation scores, ``[instructions, questions]``;
#: the first row is the program's own instruction.
Rule = Callable[[Scores, Scores], int]

#: The earlier rule's standard errors and level.
GATE, LEVEL = 2.0, 0.05
#: Points on held-out questions below which a choice did harm, and from which on a task has room.
HARM, ROOM = 3.0, 5.0


def ours(confidence: float, looks: int = FINALISTS) -> Rule:
    """Return this project's rule at some confidence, with so many programs in the verdict."""

    def rule(train: Scores, validation: Scores) -> int:
        own = train[0].mean()
        finalists = [i for i in raced(train)[:looks] if train[i].mean() > own]
        if not finalists:
            return 0
        gains = validation[finalists] - validation[0]
        p_values = sign_flip_p_values(gains)
        pairs = zip(gains.mean(axis=1), p_values, finalists, strict=True)
        proven = [(gain, i) for gain, p, i in pairs if gain > 0 and p < 1 - confidence]
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
    "this project's": ours(0.5),
    "likely": ours(0.8),
    "strict": ours(0.95),
    "any gain": ours(0.0),
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
    parser.add_argument("--examples", choices=("split", "again", "simulated"), default="split")
    parser.add_argument("--ahead", type=float, help="simulated: by how many spreads the start is")


def run(options: argparse.Namespace) -> str:
    """Replay the rules and return a table."""
    draw = {"split": split, "again": again, "simulated": simulated(options.ahead)}[options.examples]
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
        for rule, found in replay(scores, *sizes, draw).items():
            gains[rule].append(found)
    header = ["rule"]
    columns: list[list[str]] = [list(gains)]
    for kinds, name in (((True, False), ""), ((True,), " with room"), ((False,), " without")):
        chosen = [room in kinds for room in rooms]
        header += [f"{sum(chosen)} tasks{name}: gain", f"worse by {HARM:g} or more"]
        kept = [list(compress(by_task, chosen)) for by_task in gains.values()]
        columns += [list(column) for column in zip(*map(_row, kept), strict=True)]
    return markdown(header, list(map(list, zip(*columns, strict=True))))


def replay(
    scores: Scores, train: int, validation: int, times: int, draw: Draw = split
) -> dict[str, list[float]]:
    """Return what each rule gains, in points, at each drawing of examples."""
    rng = np.random.default_rng(0)
    gains: dict[str, list[float]] = {rule: [] for rule in (*RULES, "oracle")}
    for _ in range(times):
        drawing = draw(scores, train, validation, rng)
        worth = 100 * drawing.worth
        for name, rule in RULES.items():
            gains[name].append(worth[rule(drawing.train, drawing.validation)] - worth[0])
        gains["oracle"].append(worth.max() - worth[0])
    return gains


def _row(by_task: Sequence[Sequence[float]]) -> list[str]:
    if not by_task:
        return ["", ""]
    middle, low, high = bootstrap([mean(gains) for gains in by_task])
    every = [gain for gains in by_task for gain in gains]
    harmed = np.mean([gain <= -HARM for gain in every])
    return [f"{middle:+.1f} [{low:+.1f}, {high:+.1f}]", f"{harmed:.0%}"]
