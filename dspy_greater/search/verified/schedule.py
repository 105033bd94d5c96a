"""The verified search: propose widely, race on training examples, verify on others.

In each step whole instructions race the current one, and the winner becomes it. On validation
examples nothing is chosen but, by the verdict, what is returned.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.steps import Attempt, ScheduleState, Step
from dspy_greater.search.verified.race import Race
from dspy_greater.search.verified.requests import Rollouts
from dspy_greater.search.verified.sizes import CONTEXTS, Sizes
from dspy_greater.search.verified.writer import Kind, Writer, by_turns
from dspy_greater.search.view import PredictorView


@dataclass
class SearchState(ScheduleState):
    """What a verified search remembers; ``failures`` are steps in a row that found nothing better.

    The first step does not count.
    """

    failures: int = 0


@dataclass
class VerifiedSchedule:
    """Improves one predictor's instruction, race by race.

    Each step draws from a source of chance of its own, so that one taken up again goes on the same.
    """

    view: PredictorView
    config: Sizes
    board: ScoreBoard
    seed: str
    state: SearchState

    def __post_init__(self) -> None:
        size = self.board.size
        self.order = random.Random(self.seed).sample(range(size), size)

    def begin(self, current: Program) -> Attempt:
        """Run the current program on the training examples."""
        self.board.train([current], self.order)
        self.board.hold(current)
        scores = tuple(self.board.training_scores(current, self.order))
        return Attempt(current[self.view.name], "start", None, scores)

    def step(self, current: Program) -> Step | None:
        """Let other instructions race the current one; None where the search is over."""
        self.begin(current)
        if self._finished(current):
            return None
        state, name = self.state, self.view.name
        state.step += 1
        sources = self._written(current)
        if not sources:
            state.step, state.stopped = state.step - 1, "nothing new to try"
            return None
        race = Race(self.board, self.board.differing_first(self.order))
        race, count = race.fitted(len(sources))
        texts = by_turns(sources)[:count] if count < len(sources) else list(sources)
        racers = {current.replaced(name, text): sources[text] for text in texts}
        accepted = race.winner(race.run(list(racers), current), current)
        state.failures = state.failures + (state.step > 1) if accepted is None else 0
        return self._report(current, accepted, racers)

    def _finished(self, current: Program) -> bool:
        """Whether the search is over; ``stopped`` says why."""
        state, perfect = self.state, self.board.perfect_score
        if perfect is not None and self.board.training_mean(current) >= perfect:
            reason = "a perfect training score" if state.step else "nothing left to gain"
        elif state.step >= self.config.max_steps:
            reason = "all steps taken"
        elif state.failures >= self.config.patience:
            reason = f"nothing better found in {state.failures} steps"
        else:
            reason = ""
        state.stopped = state.stopped or reason
        return bool(state.stopped)

    def _written(self, current: Program) -> dict[str, Kind]:
        """Return instructions to put in the current one's place, and their sources."""
        name, state = self.view.name, self.state
        runs = self.board.runs(current, self.order)
        writer = Writer(
            view=self.view,
            config=self.config,
            rollouts=Rollouts(current[name], self.order, runs),
            second=self._second(current),
            examples=self.order[:CONTEXTS],
            rng=random.Random(f"{self.seed} {state.step} whole"),
            tried=self.board.scores.tried(current, name),
            first=state.step == 1,
        )
        found = writer.instructions()
        for source, counts in writer.yields.items():
            known = state.yields.get(source, [0] * len(counts))
            state.yields[source] = [a + b for a, b in zip(known, counts, strict=True)]
        return found

    def _second(self, current: Program) -> str:
        """Return the best other instruction in the current one's place; empty where none is."""
        name, around, board = self.view.name, current.around(self.view.name), self.board
        finalists = [p for p in board.scores.finalists if p.around(name) == around and p != current]
        best = max(finalists, key=lambda program: board.gain(program, current), default=None)
        return best[name] if best else ""

    def _report(
        self, current: Program, accepted: Program | None, racers: Mapping[Program, Kind]
    ) -> Step:
        after, name = accepted or current, self.view.name
        self.board.hold(after)
        attempts = tuple(
            Attempt(
                program[name], kind, None, tuple(self.board.training_scores(program, self.order))
            )
            for program, kind in racers.items()
        )
        status = f"train {self.board.training_mean(after):.1%}"
        return Step(self.state.step, attempts, after, accepted is not None, status)
