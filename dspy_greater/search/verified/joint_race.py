"""Whole programs race before their predictors are searched one by one.

Where a program is right only if several predictors do well, better words for one of them alone
hardly show. So each program in this race gives every predictor another instruction: the i-th that
the model wrote in one predictor's own context goes with the i-th of the others. What wins is
accepted by the rule for edits: proven on the training examples, and no worse on validation.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.verified.proposer import Proposer
from dspy_greater.search.verified.race import CONTEXTS, Race, noise_floor
from dspy_greater.search.verified.rollouts import greedy, solved
from dspy_greater.search.verified.sizes import Sizes
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
        size, config = self.board.size, self.config
        self.order = random.Random(self.seed).sample(range(size), size)
        reads = config.fluency_weight > 0
        self.race = Race(self.board, self.views, self.order, config.multiple, reads)

    def begin(self) -> None:
        """Run the current program on the training examples."""
        self.board.train([self.current], self.order)
        self.board.hold(self.current)

    def hopeful(self) -> bool:
        """Whether a program that is right on every example would be accepted."""
        perfect = self.board.perfect_score
        left = perfect is None or self.board.training_mean(self.current) < perfect
        return left and self.race.improvable(self.current)

    def programs(self, count: int) -> list[Program]:
        """Return up to ``count`` programs, each with another instruction in every predictor."""
        written = [self._written(name) for name in self.views]
        rows = zip(*written, strict=False)
        found = [Program(tuple(zip(self.views, texts, strict=True))) for texts in rows]
        return list(dict.fromkeys(found))[:count]

    def winner(self, programs: Sequence[Program]) -> Program | None:
        """Let programs race and return the accepted one, None where none is."""
        noise = noise_floor(self.board, self.current, self.order)
        reached = self.race.run(programs, self.current)
        return self.race.accepted(reached, self.current, noise)

    def _written(self, name: str) -> list[str]:
        """Return what the model, and the user, would have one predictor begin with."""
        view, config = self.views[name], self.config
        rollouts = greedy(self.board, view, self.current, self.order)
        proposer = Proposer(
            view=view,
            config=config,
            instruction=self.current[name],
            terms=[],
            examples=self.order[:CONTEXTS],
            solved=solved(view, rollouts, config.solved_contexts),
            rng=random.Random(f"{self.seed} {name}"),
            tried=set(),
        )
        return [each.text for each in proposer.whole()]
