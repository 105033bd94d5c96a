"""Whole programs race before their predictors are searched one by one.

Where a program is right only if several predictors do well, better words for one of them alone
hardly show. So each program in this race gives every predictor another instruction: the i-th that
was found for one predictor goes with the i-th of the others, so that those of a library are of one
family.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.verified.race import Race
from dspy_greater.search.verified.rollouts import greedy
from dspy_greater.search.verified.sizes import CONTEXTS, Sizes
from dspy_greater.search.verified.writer import Writer
from dspy_greater.search.view import PredictorView


@dataclass
class JointRace:
    """A race of whole programs against the current one, the one at the start."""

    views: Mapping[str, PredictorView]
    current: Program
    config: Sizes
    board: ScoreBoard
    seed: str

    def __post_init__(self) -> None:
        size = self.board.size
        self.order = random.Random(self.seed).sample(range(size), size)
        self.race = Race(self.board, self.order)

    def begin(self) -> None:
        """Run the current program on the training examples."""
        self.board.train([self.current], self.order)
        self.board.hold(self.current)

    def hopeful(self) -> bool:
        """Whether there is anything left to gain."""
        perfect = self.board.perfect_score
        return perfect is None or self.board.training_mean(self.current) < perfect

    def programs(self, names: Sequence[str]) -> list[Program]:
        """Return programs that may race, each with another instruction in these predictors."""
        if not self.race.affordable(1):
            return []
        start, rows = self.current.instructions, zip(*map(self._written, names), strict=False)
        found = [Program.of(start | dict(zip(names, texts, strict=True))) for texts in rows]
        distinct = list(dict.fromkeys(found))
        return distinct[: self.race.affordable(len(distinct))]

    def winner(self, programs: Sequence[Program]) -> Program | None:
        """Let programs race and return the winner, None where none beats the current one."""
        return self.race.winner(self.race.run(programs, self.current), self.current)

    def _written(self, name: str) -> list[str]:
        """Return what one predictor might have in the place of its instruction."""
        view = self.views[name]
        writer = Writer(
            view=view,
            config=self.config,
            rollouts=greedy(self.board, view, self.current, self.order),
            second="",
            examples=self.order[:CONTEXTS],
            rng=random.Random(f"{self.seed} {name}"),
            tried=set(),
            first=True,
        )
        return list(writer.instructions())
