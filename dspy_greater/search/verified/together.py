"""Whole programs race before their predictors are searched one by one.

Where a program is right only if several predictors do well, better words for one of them alone
hardly show. So each program in this race gives every predictor another instruction: the i-th that
the model wrote in one predictor's own context goes with the i-th of the others. What wins is
accepted by the rule for edits: proven on the training examples, and no worse on validation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from dspy_greater.search.acceptance import compare
from dspy_greater.search.readability import readability
from dspy_greater.search.verified.evidence import solved
from dspy_greater.search.verified.noise import noise_floor
from dspy_greater.search.verified.objectives import Rollouts
from dspy_greater.search.verified.race import ScoreBook, limit_of, race
from dspy_greater.search.verified.shortlist import CONTEXTS, Funnel
from dspy_greater.search.whole import instructions_of, key

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from dspy_greater.search.protocols import Subject
    from dspy_greater.search.steps import Judge
    from dspy_greater.search.verified.config import VerifiedConfig

#: Runs programs, given by their instructions, on training examples.
Programs = Callable[[Sequence[Mapping[str, str]], Sequence[int], int | None], "list[list[Run]]"]


@dataclass
class WholeRace:
    """A race of whole programs against the one at the start.

    Args:
        subjects: The predictors by name, each within the program at the start.
        start: Their instructions in it.
        run: Runs other programs.
        config: Sizes, and the rule of acceptance.
        judge: Validates programs, by :func:`dspy_greater.search.whole.key`.
        size: Number of training examples.
        seed: Seed of every random choice.

    Attributes:
        book: Scores of the programs on the training examples, by key.
    """

    subjects: Mapping[str, Subject]
    start: Mapping[str, str]
    run: Programs
    config: VerifiedConfig
    judge: Judge
    size: int
    seed: str
    book: ScoreBook = field(init=False)
    _runs: list[Run] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        order = random.Random(self.seed).sample(range(self.size), self.size)
        # A book does nothing but roll out, which this race does for whole programs.
        self.book = ScoreBook(cast("Subject", self), order)

    def roll_out(
        self,
        programs: Sequence[str],
        examples: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> list[list[Run]]:
        """Run programs, given by key, on training examples."""
        indices = range(self.size) if examples is None else examples
        return self.run([instructions_of(program) for program in programs], indices, limit)

    def begin(self) -> None:
        """Run the program at the start on the training examples."""
        (self._runs,) = self.roll_out([key(self.start)], self.book.order)
        self.book.scores[key(self.start)] = [run.score for run in self._runs]
        self.book.limit = limit_of(max(run.longest for run in self._runs))

    def hopeful(self) -> bool:
        """Whether a program that is right on every example would be accepted."""
        scores, perfect = self.book.scores[key(self.start)], self.judge.perfect_score
        left = perfect is None or self.book.mean(key(self.start)) < perfect
        return left and compare([1.0] * self.size, scores).exceeds(self.config.multiple)

    def programs(self, count: int) -> list[str]:
        """Return up to ``count`` programs, each with another instruction in every predictor."""
        written = [self._written(name) for name in self.subjects]
        names = list(self.subjects)
        found = [key(dict(zip(names, texts, strict=True))) for texts in zip(*written, strict=False)]
        return list(dict.fromkeys(found))[:count]

    def winner(self, programs: Sequence[str]) -> str | None:
        """Let programs race and return the accepted one, None where none is."""
        start = key(self.start)
        subject = next(iter(self.subjects.values()))
        instruction = next(iter(self.start.values()))
        scores = self.book.scores
        noise = noise_floor(subject, instruction, self.book.order, scores[start])

        def proven(program: str) -> bool:
            comparison = compare(scores[program], scores[start])
            return comparison.exceeds(self.config.multiple) and comparison.gain > noise

        reached = race(self.book, programs, start)
        leading = [t for t in reached if not compare(scores[reached[0]], scores[t]).exceeds(1.0)]
        best = self._best_reader([program for program in leading if proven(program)])
        if best is None or self.judge.score(best) < self.judge.score(start):
            return None
        return best

    def _written(self, name: str) -> list[str]:
        """Return what the model, and the user, would have one predictor begin with."""
        subject, instruction, order = self.subjects[name], self.start[name], self.book.order
        scores = tuple(run.score for run in self._runs)
        runs = Rollouts(instruction, tuple(order), tuple(self._runs), scores)
        funnel = Funnel(
            subject=subject,
            config=self.config,
            instruction=instruction,
            terms=[],
            examples=order[:CONTEXTS],
            solved=solved(subject, runs, self.config.solved_contexts),
            rng=random.Random(f"{self.seed} {name}"),
            tried=set(),
        )
        return [each.text for each in funnel.whole()]

    def _best_reader(self, programs: Sequence[str]) -> str | None:
        """Return the program whose instructions read best in the mean."""
        if not programs or self.config.fluency_weight == 0:
            return next(iter(programs), None)
        found = [instructions_of(program) for program in programs]
        examples = self.book.order[:CONTEXTS]
        marks = [
            readability(subject, [each[name] for each in found], examples)
            for name, subject in self.subjects.items()
        ]
        totals = [sum(column) for column in zip(*marks, strict=True)]
        return max(zip(totals, programs, strict=True), key=lambda pair: pair[0])[1]
