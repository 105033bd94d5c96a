"""The verified search: propose widely, race on training examples, verify on others.

The first step lets whole instructions race the one at the start: the user's, those of a library,
and what the model writes. Each other asks the model again, told what the current instruction gets
wrong, and narrows all thinkable edits of it down to a few (see ``proposer``); all of them race. The
winner becomes the current one. Nothing is chosen on the validation examples but, in the end, by the
verdict, what is returned.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.steps import Attempt, ScheduleState, Step
from dspy_greater.search.verified.edits import Edit, RatedEdit, merges
from dspy_greater.search.verified.proposer import Proposer
from dspy_greater.search.verified.race import Race
from dspy_greater.search.verified.rollouts import RolloutBuffer, greedy
from dspy_greater.search.verified.sizes import CONTEXTS, Sizes
from dspy_greater.search.verified.writer import Writer, by_turns
from dspy_greater.search.view import PredictorView


@dataclass
class SearchState(ScheduleState):
    """What a verified search remembers from one step to the next.

    ``promising`` edits of the current instruction gained something, but less than acceptance asks;
    ``merged`` are its ids with such edits, worth considering in the next step.
    """

    failures: int = 0
    promising: list[Edit] = field(default_factory=list)
    merged: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # As they come back from JSON.
        self.promising = [
            edit if isinstance(edit, Edit) else Edit(**{**edit, "tokens": tuple(edit["tokens"])})
            for edit in self.promising
        ]
        self.merged = [tuple(tokens) for tokens in self.merged]


@dataclass
class VerifiedSchedule:
    """Improves one predictor's instruction, race by race.

    Each step draws from a source of chance of its own, so that a search taken up again goes on as
    if it had not been interrupted.
    """

    view: PredictorView
    config: Sizes
    board: ScoreBoard
    seed: str
    state: SearchState

    def __post_init__(self) -> None:
        size = self.board.size
        self.order = random.Random(self.seed).sample(range(size), size)
        self.race = Race(self.board, self.order)
        self.rollouts = RolloutBuffer(
            self.board, self.view, self.config, self.order, f"{self.seed} rollouts"
        )

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
        racers = self._written(current)
        if state.step > 1 or not racers:
            racers += self._edited(current)
        if not racers:
            state.step, state.stopped = state.step - 1, "nothing new to try"
            return None
        count = self.race.affordable(len(racers))
        if count < len(racers):  # the fewer are of every source
            racers = by_turns(racers)[:count]
        programs = {current.replaced(name, each.text): each for each in racers}
        reached = self.race.run(list(programs), current)
        accepted = self.race.winner(reached, current)
        level = self.board.training_mean(current)
        gained = [programs[p] for p in reached if self.board.training_mean(p) > level]
        self._remember(gained, None if accepted is None else programs[accepted], current)
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

    def _written(self, current: Program) -> list[RatedEdit]:
        """Return whole instructions to put in the current one's place."""
        name, state = self.view.name, self.state
        writer = Writer(
            view=self.view,
            config=self.config,
            rollouts=greedy(self.board, self.view, current, self.order),
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
        name, around = self.view.name, current.around(self.view.name)
        others = [p for p in self.board.ranked() if p.around(name) == around and p != current]
        return others[0][name] if others else ""

    def _edited(self, current: Program) -> list[RatedEdit]:
        """Return the edits of the current instruction that are worth a race."""
        if not self.config.race_size:
            return []
        state, name = self.state, self.view.name
        terms, contexts = self.rollouts.terms(current), self.rollouts.solved(current)
        state.stood_in += self.rollouts.stands_in
        proposer = Proposer(
            view=self.view,
            config=self.config,
            instruction=current[name],
            terms=terms,
            examples=self.order[:CONTEXTS],
            solved=contexts,
            rng=random.Random(f"{self.seed} {state.step}"),
            tried=self.board.scores.tried(current, name),
        )
        racers = self._racers(proposer.shortlist(state.merged), proposer)
        state.skipped += proposer.skipped
        return racers

    def _racers(self, ranked: Sequence[RatedEdit], proposer: Proposer) -> list[RatedEdit]:
        """Choose who races: the most promising, and combinations of them."""
        hopeful = [each for each in ranked if each.estimate is None or each.estimate > 0]
        single = [each.edit for each in hopeful if not each.edit.is_whole]
        length = len(proposer.tokens)
        merged = [Edit("merge", 0, length, ids) for ids in merges(single[:3], proposer.tokens)]
        size = self.config.race_size
        combined = proposer.surviving(merged, count=size // 2)
        # Where nothing promises a gain, the least unpromising is still worth a block of examples.
        promising = hopeful[: size - len(combined)] or ranked[:1]
        chosen = {each.text: each for each in (*promising, *combined)}.values()
        # A race keeps this order among equal scores.
        return sorted(chosen, key=lambda each: (each.estimate is None, -(each.estimate or 0.0)))

    def _remember(
        self, gained: Sequence[RatedEdit], accepted: RatedEdit | None, current: Program
    ) -> None:
        """Carry the edits that gained something over to the next step."""
        state = self.state
        others = [e.edit for e in gained if e is not accepted and not e.edit.is_whole]
        if accepted is None:
            state.failures += state.step > 1
            state.promising = list(dict.fromkeys([*others, *state.promising]))[:4]
            state.merged = merges(state.promising, self.view.tokens(current[self.view.name]))
            return
        state.failures = 0
        whole = accepted.edit.is_whole
        moved = [] if whole else [edit.after(accepted.edit) for edit in others]
        now = self.view.tokens(accepted.text)
        state.promising = [edit for edit in moved if edit is not None]
        state.merged = [edit.apply(now) for edit in state.promising]

    def _report(
        self, current: Program, accepted: Program | None, racers: Sequence[RatedEdit]
    ) -> Step:
        after, name = accepted or current, self.view.name
        self.board.hold(after)
        attempts = tuple(
            Attempt(
                instruction=each.text,
                kind=each.edit.kind,
                position=None if each.edit.is_whole else each.edit.start,
                scores=tuple(
                    self.board.training_scores(current.replaced(name, each.text), self.order)
                ),
                estimate=each.estimate,
            )
            for each in racers
        )
        status = f"train {self.board.training_mean(after):.1%}"
        return Step(self.state.step, attempts, after, accepted is not None, status)
