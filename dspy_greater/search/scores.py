"""What is known of each program: its scores on training and on validation examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, pvariance
from typing import Any, Protocol

from dspy_greater.program import Run
from dspy_greater.search.programs import Program

#: Tokens that an answer may always have in a race: room to reason where the current one does not.
LEAST_LIMIT = 256


class Runner(Protocol):
    """Runs whole programs on examples and scores them."""

    def run(
        self, wanted: Mapping[Program, Sequence[int]], limit: int | None = None
    ) -> list[list[Run]]:
        """Run programs on training examples of their own, all at once, as they run when deployed.

        The white box writes ``limit`` tokens at most, or the LM's own limit if that is less.
        """

    def validate(self, programs: Sequence[Program]) -> list[list[float]]:
        """Return each program's scores on the validation examples, run side by side."""


@dataclass
class Scores:
    """The metric of programs on the examples that they were run on; part of the state of a compile.

    ``finalists`` reached the end of a race, ``put_back`` are programs that were validated to see
    whether they do without a change, and ``longest`` are the bytes of a current program's longest
    answer on training examples.
    """

    training: dict[Program, dict[int, float]] = field(default_factory=dict)
    validation: dict[Program, list[float]] = field(default_factory=dict)
    finalists: list[Program] = field(default_factory=list)
    put_back: list[Program] = field(default_factory=list)
    longest: int = 0

    def tried(self, program: Program, predictor: str) -> set[str]:
        """Return the instructions that a predictor had in runs of this program on training."""
        around = program.around(predictor)
        return {p[predictor] for p in self.training if p.around(predictor) == around}

    def dump(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {
            "training": [
                (p.instructions, list(known.items())) for p, known in self.training.items()
            ],
            "validation": [(p.instructions, scores) for p, scores in self.validation.items()],
            "finalists": [program.instructions for program in self.finalists],
            "put_back": [program.instructions for program in self.put_back],
            "longest": self.longest,
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Scores:
        """Return what :meth:`dump` was called on."""
        training = {Program.of(program): dict(known) for program, known in saved["training"]}
        # In the order in which they were asked for: among equals the first one is returned.
        validation = {Program.of(program): scores for program, scores in saved["validation"]}
        finalists = [*map(Program.of, saved["finalists"])]
        put_back = [*map(Program.of, saved["put_back"])]
        return cls(training, validation, finalists, put_back, saved["longest"])


@dataclass
class ScoreBoard:
    """Runs programs on the ``size`` training examples where their scores lack them; each once.

    At a mean score of ``perfect_score`` there is nothing left to gain. ``affordable`` says for how
    many more runs the bounds of the compile pay, ``shown`` which examples a program shows: it has
    seen their answers, so it does not race on them.
    """

    scores: Scores
    runner: Runner
    size: int
    perfect_score: float | None = None
    affordable: Callable[[], float] = lambda: math.inf
    shown: Callable[[Program], Collection[int]] = lambda program: ()
    _runs: dict[Program, dict[int, Run]] = field(default_factory=dict, init=False, repr=False)

    @property
    def limit(self) -> int | None:
        """Most tokens of an answer in a race; None, the language model's own, where none is known.

        As many as the longest answer of a current program has bytes, about four times its tokens:
        a batch takes as long as its longest row, and a greedy answer may go round in circles.
        """
        longest = self.scores.longest
        return max(LEAST_LIMIT, longest) if longest else None

    def train(self, programs: Sequence[Program], examples: Sequence[int]) -> None:
        """Run programs, side by side, on those training examples that their scores lack."""
        known, wanted = self.scores.training, dict[Program, list[int]]()
        for program in programs:
            done = {*known.setdefault(program, {}), *self.shown(program)}
            if missing := [index for index in examples if index not in done]:
                wanted[program] = missing
        made = self.runner.run(wanted, self.limit) if wanted else []
        for (program, missing), runs in zip(wanted.items(), made, strict=True):
            pairs = list(zip(missing, runs, strict=True))
            known[program].update((index, run.score) for index, run in pairs)
            self._runs.setdefault(program, {}).update(pairs)

    def training_scores(self, program: Program, examples: Sequence[int]) -> list[float]:
        """Return a program's scores on those of the training examples that it was run on."""
        known = self.scores.training[program]
        return [known[index] for index in examples if index in known]

    def training_mean(self, program: Program) -> float:
        """Return a program's mean score on the training examples that it was run on."""
        return mean(self.scores.training[program].values())

    def gain(self, program: Program, other: Program) -> float:
        """Return how much better a program is than another in the mean, where both were run."""
        own, its = self.scores.training[program], self.scores.training[other]
        return mean([own[index] - its[index] for index in own if index in its] or [0.0])

    def reach(self, programs: Sequence[Program]) -> None:
        """Note that programs went as far as a race, or a step, lets any: they may be validated."""
        self.scores.finalists += [p for p in programs if p not in self.scores.finalists]

    def differing_first(self, examples: Sequence[int]) -> list[int]:
        """Return training examples, first those on which the programs so far differ most.

        Where all were right, or none, the next ones seldom differ either.
        """
        known = self.scores.training.values()
        scores = {index: [own[index] for own in known if index in own] for index in examples}
        return sorted(examples, key=lambda index: -pvariance(scores[index] or [0.0]))

    def runs(self, program: Program, examples: Sequence[int]) -> list[Run]:
        """Return a program's runs on training examples.

        Runs are not kept from one process to the next: there they are made once more.
        """
        self.train([program], examples)
        known = self._runs.setdefault(program, {})
        if missing := [index for index in examples if index not in known]:
            (made,) = self.runner.run({program: missing}, self.limit)
            known.update(zip(missing, made, strict=True))
        return [known[index] for index in examples]

    def hold(self, program: Program) -> None:
        """Note how long a program's answers are that is current now, and forget what lost to it.

        Programs that were validated may still be returned: their runs are kept, too.
        """
        runs = self._runs.setdefault(program, {})
        kept = {program, *self.scores.validation}
        self._runs = {each: made for each, made in self._runs.items() if each in kept}
        self.scores.longest = max([self.scores.longest, *(r.longest for r in runs.values())])

    def validate(self, programs: Sequence[Program]) -> None:
        """Run programs, side by side, on the validation examples, but for those that were."""
        known = self.scores.validation
        if lacking := [each for each in dict.fromkeys(programs) if each not in known]:
            known.update(zip(lacking, self.runner.validate(lacking), strict=True))

    def validation_score(self, program: Program) -> float:
        """Return a program's mean score on the validation examples, run once."""
        self.validate([program])
        return mean(self.scores.validation[program])
