"""What races before the predictors are searched one by one: sets of demos, and whole programs.

Where a program is right only if several predictors do well, better words for one of them alone
hardly show. So whole programs race: the i-th instruction found for one predictor goes with the i-th
of the others, so that those of a library are of one family.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dspy_greater.program.demos import Shown, demo_sets
from dspy_greater.search.programs import DEMOS, Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.verified.race import Race
from dspy_greater.search.verified.requests import Rollouts
from dspy_greater.search.verified.sizes import CONTEXTS, Sizes
from dspy_greater.search.verified.writer import Writer
from dspy_greater.search.view import PredictorView

#: Sets of demos that race.
SETS = 8


@dataclass
class OpeningRace:
    """A race against the current program; ``parts`` are what differs among those that race."""

    current: Program
    board: ScoreBoard
    seed: str

    def __post_init__(self) -> None:
        size = self.board.size
        self.order = random.Random(self.seed).sample(range(size), size)
        self.race = Race(self.board, self.order)

    @property
    def parts(self) -> Sequence[str]:
        """Names of the parts of a program that may differ."""
        raise NotImplementedError

    def begin(self) -> None:
        """Run the current program on the training examples."""
        self.board.train([self.current], self.order)
        self.board.hold(self.current)

    def hopeful(self) -> bool:
        """Whether there is anything left to gain."""
        perfect = self.board.perfect_score
        return perfect is None or self.board.training_mean(self.current) < perfect

    def programs(self, names: Sequence[str]) -> list[Program]:
        """Return programs that may race, each with other texts in these parts."""
        if not self.race.fitted(1)[1]:
            return []
        start, rows = self.current.instructions, self.texts(names)
        found = [Program.of(start | dict(zip(names, texts, strict=True))) for texts in rows]
        distinct = list(dict.fromkeys(found))
        self.race, count = self.race.fitted(len(distinct))
        return distinct[:count]

    def texts(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return what may stand together in these parts."""
        raise NotImplementedError

    def winner(self, programs: Sequence[Program]) -> Program | None:
        """Let programs race and return the winner, None where none beats the current one."""
        return self.race.winner(self.race.run(programs, self.current), self.current)


@dataclass
class DemoRace(OpeningRace):
    """Sets of demos race the program's own; ``shown`` is what training examples can show."""

    shown: Callable[[], Mapping[int, Shown]]

    parts = (DEMOS,)

    def texts(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return sets of demos."""
        sets = demo_sets(self.shown(), SETS, random.Random(f"{self.seed} sets"))
        return [(text,) for text in sets]


@dataclass
class JointRace(OpeningRace):
    """Programs race that have another instruction in every predictor."""

    views: Mapping[str, PredictorView]
    config: Sizes

    @property
    def parts(self) -> Sequence[str]:
        """The predictors."""
        return list(self.views)

    def texts(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return instructions of several predictors that may go together."""
        return list(zip(*map(self._written, names), strict=False)) if len(names) > 1 else []

    def _written(self, name: str) -> list[str]:
        """Return what one predictor might have in the place of its instruction."""
        view, runs = self.views[name], self.board.runs(self.current, self.order)
        writer = Writer(
            view=view,
            config=self.config,
            rollouts=Rollouts(self.current[name], self.order, runs),
            second="",
            examples=self.order[:CONTEXTS],
            rng=random.Random(f"{self.seed} {name}"),
            tried=set(),
            first=True,
        )
        return list(writer.instructions())
