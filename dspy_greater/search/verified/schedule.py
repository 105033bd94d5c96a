"""The verified search: propose widely, estimate cheaply, run few, accept only what is proven.

The first step lets whole instructions, the user's and the model's, race the one at the start. Each
other narrows all thinkable edits of the current instruction down (see ``proposer``) and lets the
best race it. A race is run on the training examples with fresh reasoning; its winner is accepted if
the paired gain is beyond noise and holds on the validation examples. At the end words that do no
work are taken away.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from dspy_greater.search.programs import Program
from dspy_greater.search.readability import readability
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.steps import Attempt, ScheduleState, Step
from dspy_greater.search.verified.edits import Edit, merges
from dspy_greater.search.verified.objectives import Term, answer_likelihood, fluency_terms
from dspy_greater.search.verified.proposer import Proposer, RatedEdit
from dspy_greater.search.verified.race import CONTEXTS, Race, noise_floor
from dspy_greater.search.verified.rollouts import RolloutBuffer, greedy, solved
from dspy_greater.search.verified.sizes import Sizes
from dspy_greater.search.verified.tidy import shortened
from dspy_greater.search.view import PredictorView


@dataclass
class SearchState(ScheduleState):
    """What a verified search remembers from one step to the next.

    ``promising`` edits of the current instruction gained something, but less than acceptance asks;
    ``merged`` are its ids with such edits, worth considering in the next step.
    """

    failures: int = 0
    tidied: int = 0
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
    """Improves one predictor's instruction by proven edits.

    Each step draws from a source of chance of its own, so that a search taken up again goes on as
    if it had not been interrupted.
    """

    view: PredictorView
    config: Sizes
    board: ScoreBoard
    seed: str
    state: SearchState

    def __post_init__(self) -> None:
        size, config = self.board.size, self.config
        self.order = random.Random(self.seed).sample(range(size), size)
        views = {self.view.name: self.view}
        self.race = Race(self.board, views, self.order, config.multiple, config.fluency_weight > 0)
        self.rollouts = RolloutBuffer(
            self.board, self.view, config, self.order, f"{self.seed} rollouts"
        )

    def begin(self, current: Program) -> Attempt:
        """Run the current program on the training examples."""
        self.board.train([current], self.order)
        self.board.hold(current)
        scores = tuple(self.board.training_scores(current, self.order))
        return Attempt(current[self.view.name], "start", None, scores)

    def step(self, current: Program) -> Step | None:
        """Try edits, or at the end shorter versions; None where nothing is left to gain or try."""
        self.begin(current)
        self.board.validation_score(current)
        if self.state.noise is None:
            self.state.noise = noise_floor(self.board, current, self.order)
        if not self._finished(current):
            return self._edited(current)
        return self._tidied(current) if self.state.tidied < self.config.tidy_rounds else None

    def _finished(self, current: Program) -> bool:
        """Whether the search is over, but for the tidying; ``stopped`` says why."""
        state, perfect = self.state, self.board.perfect_score
        if perfect is not None and self.board.training_mean(current) >= perfect:
            reason = "a perfect training score" if state.step else "nothing left to gain"
        elif not self.race.improvable(current):
            reason = f"no edit could be proven better on {len(self.order)} training examples"
        elif state.step >= self.config.max_steps:
            reason = "all steps taken"
        elif state.failures >= self.config.patience:
            reason = f"no edit accepted in {state.failures} steps"
        else:
            reason = ""
        state.stopped = state.stopped or reason
        return bool(state.stopped)

    def _edited(self, current: Program) -> Step:
        """Let whole instructions, or edits of the current one, race it."""
        state = self.state
        state.step += 1
        racers: list[RatedEdit] = []
        if state.step == 1:
            proposer, racers = self._whole(current)
        if not racers:
            proposer, racers = self._edits(current)
        state.skipped += proposer.skipped
        programs = {current.replaced(self.view.name, each.text): each for each in racers}
        reached = self.race.run(list(programs), current)
        accepted = self.race.accepted(reached, current, state.noise or 0.0)
        level = self.board.training_mean(current)
        gained = [p for p in reached if self.board.training_mean(p) > level]
        winner = None if accepted is None else programs[accepted]
        self._remember(racers, [programs[p] for p in gained], winner, proposer)
        return self._report(current, accepted, racers)

    def _whole(self, current: Program) -> tuple[Proposer, list[RatedEdit]]:
        """Return other beginnings; worth more than an edit, and tried without an estimate."""
        rollouts = greedy(self.board, self.view, current, self.order)
        proposer = self._proposer(
            current,
            answer_likelihood(self.view, rollouts),
            solved(self.view, rollouts, self.config.solved_contexts),
        )
        return proposer, proposer.whole()

    def _edits(self, current: Program) -> tuple[Proposer, list[RatedEdit]]:
        """Return the edits of the current instruction that are worth a race."""
        terms, contexts = self.rollouts.terms(current), self.rollouts.solved(current)
        self.state.stood_in += self.rollouts.stands_in
        proposer = self._proposer(current, terms, contexts)
        return proposer, self._racers(proposer.shortlist(self.state.merged), proposer)

    def _proposer(
        self, current: Program, terms: Sequence[Term], contexts: Sequence[tuple[int, ...]]
    ) -> Proposer:
        name = self.view.name
        return Proposer(
            view=self.view,
            config=self.config,
            instruction=current[name],
            terms=terms,
            examples=self.order[:CONTEXTS],
            solved=contexts,
            rng=random.Random(f"{self.seed} {self.state.step}"),
            tried=self.board.scores.tried(current, name),
        )

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
        self,
        racers: Sequence[RatedEdit],
        gained: Sequence[RatedEdit],
        accepted: RatedEdit | None,
        proposer: Proposer,
    ) -> None:
        """Carry the edits that gained something over to the next step."""
        state = self.state
        others = [e.edit for e in gained if e is not accepted and not e.edit.is_whole]
        if accepted is None:
            state.failures += not any(each.edit.kind == "start" for each in racers)
            state.promising = list(dict.fromkeys([*others, *state.promising]))[:4]
            state.merged = merges(state.promising, proposer.tokens)
            return
        state.failures = 0
        whole = accepted.edit.is_whole
        moved = [] if whole else [edit.after(accepted.edit) for edit in others]
        now = self.view.tokens(accepted.text)
        state.promising = [edit for edit in moved if edit is not None]
        state.merged = [edit.apply(now) for edit in state.promising]

    def _tidied(self, current: Program) -> Step | None:
        """Try the instruction without some of its words; None when nothing can go."""
        name, order = self.view.name, self.order
        text = current[name]
        if text == self.state.start:
            return None
        fluency = fluency_terms(self.view, text, order[:CONTEXTS], self.config.fluency_weight)
        terms = [*self.rollouts.terms(current), *fluency]
        shorter = shortened(self.view, text, terms, 2 * self.config.race_size)
        tried: list[RatedEdit] = []
        level = self.board.training_mean(current)
        for each in self._better_readers(text, shorter):
            tried.append(each)
            program = current.replaced(name, each.text)
            if self.race.run([program], current) and self.board.training_mean(program) >= level:
                break
        else:
            return None
        if self.board.validation_score(program) < self.board.validation_score(current):
            return None
        self.state.step += 1
        self.state.tidied += 1
        return self._report(current, program, tried)

    def _better_readers(self, text: str, shorter: Sequence[RatedEdit]) -> list[RatedEdit]:
        """Return those that read better than the current instruction, the best reader first."""
        texts = [text, *(each.text for each in shorter)]
        own, *marks = readability(self.view, texts, self.order[:CONTEXTS])
        rated = [pair for pair in zip(marks, shorter, strict=True) if pair[0] > own]
        return [each for _, each in sorted(rated, key=lambda pair: -pair[0])]

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
