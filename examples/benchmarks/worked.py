"""Which failed runs make good worked examples: those whose reasoning makes the label likely?

    python -m examples.benchmark worked --model FOLDER --tasks date_understanding \
        --out examples/results/worked.jsonl

DSPy's instruction is run on the training examples of programs that reason. Then it is run on
validation examples with one worked example behind it, which shows the reasoning of such a run and
the right label:

- *likely*: of the failed runs that the search would choose, since their reasoning makes the label
  likeliest;
- *chance*: of the others that failed;
- *right*: of those that were right.

What is in --out already is not run again; texts are not kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any

import dspy

from dspy_greater import local_lm
from dspy_greater.program import Metric, Run
from dspy_greater.program.runs import run_programs
from dspy_greater.search.verified.examples import HEADER, worked
from examples.benchmarks.common import Cases, Place, bootstrap, markdown, place_in
from examples.benchmarks.models import quiet
from examples.tasks import NAMES, BenchmarkTask, load

KINDS = ("likely", "chance", "right")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--name", help="what the model is called in the file")
    parser.add_argument("--tasks", nargs="+", choices=NAMES, required=True)
    parser.add_argument("--data", help="folder of the published data")
    parser.add_argument("--each", type=int, default=2, help="examples of a kind")
    parser.add_argument("--questions", type=int, default=60, help="of the validation examples")
    parser.add_argument("--max-tokens", type=int, default=512, help="most of an answer")
    parser.add_argument("--seed", type=int, default=5, help="of the splits")
    parser.add_argument("--out", type=Path, required=True)


def run(options: argparse.Namespace) -> str:
    """Run what is missing, and return a table with a row for each task."""
    quiet()
    sizes = {"questions": options.questions, "seed": options.seed}
    cases = Cases(options.out, {"model": options.name or Path(options.model).stem, **sizes})
    lm = None
    for name in options.tasks:
        wanted = [(kind, number) for kind in KINDS for number in range(options.each)]
        missing = [w for w in wanted if cases.lack(task=name, kind=w[0], number=w[1])]
        if missing:
            lm = lm or local_lm(options.model, max_tokens=options.max_tokens, cache=False)
            looked = Look(load(name, options.data), lm, options.seed, options.questions)
            for kind, number in missing:
                found = looked.case(kind, number)
                cases.add(task=name, kind=kind, number=number, solved=looked.solved, **found)
    return table([case for case in cases.read() if case["task"] in options.tasks])


@dataclass(frozen=True)
class Look:
    """One task: what its training runs make worked examples of, by the search's own rule."""

    task: BenchmarkTask
    lm: dspy.LM
    seed: int
    questions: int

    @property
    def solved(self) -> int:
        """How many training runs were right."""
        return len(self._right)

    def case(self, kind: str, number: int) -> dict[str, Any]:
        """Return the scores with one worked example; none where there are no such examples."""
        chosen = {"likely": self._likely, "chance": self._chance, "right": self._right}[kind]
        if number >= len(chosen):
            return {"scores": []}
        start = self.task.program().predictors()[0].signature.instructions
        program = self.task.program(start + HEADER + chosen[number])
        asked = self.task.splits(self.seed).validation[: self.questions]
        (runs,) = run_programs([program], [asked], Metric(self.task.metric), lms=[self.lm])
        return {"scores": [run.score for run in runs]}

    @cached_property
    def _likely(self) -> list[str]:
        return self._worked(self._failed)

    @cached_property
    def _chance(self) -> list[str]:
        alone = (self._worked([at]) for at in self._failed)
        return [text for texts in alone for text in texts if text not in self._likely]

    @cached_property
    def _right(self) -> list[str]:
        return self._worked([at for at in self._order if self._runs[at].score >= 1])

    @cached_property
    def _failed(self) -> list[int]:
        return [at for at in self._order if self._runs[at].score < 1]

    def _worked(self, chosen: Sequence[int]) -> list[str]:
        """Return the worked examples that the search would make of some of the runs."""
        view, runs = self._place.view, [self._runs[at] for at in chosen]
        answers = view.answers(self._place.start[view.name], runs, chosen)
        return worked(view, chosen, runs, answers)

    @cached_property
    def _order(self) -> list[int]:
        size = self._place.board.size
        return Random(self.seed).sample(range(size), size)

    @cached_property
    def _place(self) -> Place:
        train = list(self.task.splits(self.seed).train)
        return place_in(self.task.program(), train, self.task.metric, self.lm)

    @cached_property
    def _runs(self) -> list[Run]:
        board, start = self._place.board, self._place.start
        board.train([start], range(board.size))
        return board.runs(start, range(board.size))


def table(cases: Sequence[dict[str, Any]]) -> str:
    """Return a table, and the lead of the likely ones in points with its 95 % interval."""
    rows = []
    for task in dict.fromkeys(case["task"] for case in cases):
        mine = [case for case in cases if case["task"] == task]
        shares = [" and ".join(_percents(mine, kind)) for kind in KINDS]
        rows.append([task, str(mine[0]["solved"]), *shares])
    likely, chance = (list(_scores(cases, kind)) for kind in KINDS[:2])
    told = markdown(["task", "right at the start", *KINDS], rows)
    if len(likely) == len(chance) > 0:
        gains = [a - b for a, b in zip(likely, chance, strict=True)]
        lead, low, high = (100 * value for value in bootstrap(gains))
        told += f"\n\nlikely - chance: {lead:+.1f} points ({low:+.1f} to {high:+.1f})"
    return told


def _percents(cases: Sequence[dict[str, Any]], kind: str) -> Iterator[str]:
    return (f"{mean(c['scores']):.0%}" for c in cases if c["kind"] == kind and c["scores"])


def _scores(cases: Sequence[dict[str, Any]], kind: str) -> Iterator[float]:
    return chain.from_iterable(case["scores"] for case in cases if case["kind"] == kind)
