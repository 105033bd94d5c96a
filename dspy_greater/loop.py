"""The loop of a compile: whose turn it is, one step, the record of it, and a saved state.

What is compared are whole programs. Each predictor's search changes its own instruction within the
program as the search before it left it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from statistics import mean

from tqdm.auto import tqdm

from dspy_greater.basics.console import redraws, say, shorten
from dspy_greater.cost import Budget
from dspy_greater.program import Predictor
from dspy_greater.program.data import shown_in
from dspy_greater.program.demos import Shown, examples_of, shown_by, with_demos
from dspy_greater.program.runs import unreadable
from dspy_greater.record import Candidate, StepEvent
from dspy_greater.record.outcomes import UNCALLED
from dspy_greater.search import (
    Attempt,
    PredictorView,
    Program,
    Schedule,
    ScoreBoard,
    Verdict,
    choose,
)
from dspy_greater.search.programs import DEMOS
from dspy_greater.search.verified.opening import DemoRace, OpeningRace
from dspy_greater.setup import Setup, announce
from dspy_greater.state import CompileState, SearchUnderWay

#: Programs, the best at the end of a race, among which the verdict chooses besides the user's;
#: fewer where to run them would take more than this share of what the start's runs leave.
FINALISTS, VERDICTS_SHARE = 3, 1 / 2
#: Most validation examples, as a share of the runs that the bounds pay for, and the fewest: each
#: program verified is run on all of them, and no race is left where bounds pay for little else.
VALIDATED, FEWEST_VALIDATED = 1 / 5, 16
#: In whose name the race of whole programs spends, and the kind of candidate it tries.
TOGETHER = "together"


class Loop:
    """Proposes, races, decides and saves until there is nothing left to do.

    ``stopped`` says why those searches that have not ended went no further; empty where all have.
    """

    def __init__(self, setup: Setup, state: CompileState) -> None:
        self.setup, self.state = setup, state
        self.budget = Budget(setup.bounds, state.meter, self._waiting, self._verdicts_runs)
        self.board = ScoreBoard(
            state.scores,
            setup.runner,
            len(setup.runner.train),
            setup.perfect_score,
            self.budget.affordable,
            cache(self._shown_in),
        )
        self.stopped = ""
        self._schedules: dict[str, Schedule] = {}

    def run(self) -> None:
        """Take steps until every search, the bounds or the user ends them.

        Ctrl-C ends them as the callback does: what was found by then counts.
        """
        setup, state = self.setup, self.state
        if state.start in state.scores.validation:  # taken up from an earlier process
            self._fit_verdict()
        try:
            if not state.raced:
                self._race_first()
            while state.untold and not self.stopped:
                self._tell(state.untold.pop(0))
            with tqdm(total=100, unit="%", disable=not (setup.progress and redraws())) as bar:
                while not self.stopped and (predictor := self._next()) is not None:
                    bar.set_description_str(predictor.name, refresh=False)
                    self._turn(predictor, bar)
            self._verify()
            for name in self.verdict().program.changes(state.start):
                self._put_back(name)
        except KeyboardInterrupt:
            self.stopped = "interrupted"

    def _fit_verdict(self) -> None:
        """Verify on a sample of the validation examples, where the bounds pay for few runs."""
        runner, state, paid = self.setup.runner, self.state, self.budget.paid()
        known, given = state.scores.validation.get(state.start), len(runner.validation)
        fitting = min(given, max(FEWEST_VALIDATED, VALIDATED * paid))
        count = len(known) if known else int(fitting)
        if count < given:
            drawn = random.Random(f"{self.setup.seed} validation")
            runner.validation = drawn.sample(runner.validation, count)
            state.record.validation_examples = count
        if known:
            return
        told, train = f"{self.setup.bounds} pays for about {paid:,.0f} runs", len(runner.train)
        if paid < train + count:
            told += f", fewer than the {train} training and {count} validation examples, the least"
            say(told, self.setup.progress)
        elif count < given:
            told += f": the verdict is on {count} of {given} validation examples"
            say(told, self.setup.progress)

    def verdict(self) -> Verdict:
        """Return the best program so far that beats the user's with the confidence asked for."""
        state = self.state
        scores, confidence = state.scores, self.setup.confidence
        return choose(scores.validation, state.start, confidence, scores.put_back)

    def _put_back(self, name: str) -> None:
        """Validate the best program without one of its changes, unless it is the only one."""
        scores, start = self.state.scores, self.state.start
        program = self.verdict().program.replaced(name, start[name])
        if program not in scores.validation and self._pays():
            scores.put_back.append(program)
            self.board.validation_score(program)

    def _pays(self) -> bool:
        """Whether the bounds pay for one program more on all validation examples."""
        return self.budget.left() >= len(self.setup.runner.validation)

    def _finalists(self) -> list[Program]:
        """Return the best of those that reached the end of a race, if better than the user's."""
        start, board, scores = self.state.start, self.board, self.state.scores
        if start not in scores.training:
            return []
        gains = {p: board.gain(p, start) for p in (self.state.current, *scores.finalists)}
        better = [program for program, gain in gains.items() if gain > 0]
        return sorted(better, key=lambda program: -gains[program])[: self._looks()]

    def _verify(self) -> None:
        """Validate the finalists, within bounds one by one: their runs may be the dearer ones."""
        finalists = self._finalists()
        if not self.setup.bounds:
            self.board.validate(finalists)
        for program in finalists:
            if self._pays():
                self.board.validate([program])

    def _looks(self) -> int:
        """Return among how many programs the verdict chooses, one at least."""
        train, validation = len(self.setup.runner.train), len(self.setup.runner.validation)
        paid = VERDICTS_SHARE * (self.budget.paid() - train - validation) / validation
        return max(1, int(min(FINALISTS, paid)))

    def view(
        self, predictor: Predictor, program: Program, labelled_only: bool = False
    ) -> PredictorView:
        """Return a predictor as the search sees it, within a program."""
        setup = self.setup
        return PredictorView(
            predictor=with_demos(predictor, program.demos),
            train=setup.runner.train,
            model=setup.model,
            adapter=setup.adapter,
            received=lambda: self.board.runs(program, range(len(setup.runner.train))),
            labels=setup.labels.get(predictor.name),
            labelled_only=labelled_only,
            scripts=setup.scripts,
        )

    def _next(self) -> Predictor | None:
        """Return whose turn it is: each is searched to its end, in the program's order."""
        waiting = self._waiting()
        return next((p for p in self.setup.runner.predictors if p.name in waiting), None)

    def _waiting(self) -> list[str]:
        """Return whose search goes on."""
        over = {name for name, search in self.state.searches.items() if search.ended}
        return [each.name for each in self.setup.runner.predictors if each.name not in over]

    def _turn(self, predictor: Predictor, bar: tqdm) -> None:
        """Let a predictor's search take one step, or end."""
        state, name = self.state, predictor.name
        self.budget.turn(name)
        if name not in state.searches:
            self._opened(predictor)  # a first pass is made whatever the bounds
            self.budget.turn(name)
        search = state.searches[name]
        if reason := self._ending(predictor):
            search.ended = reason
            return
        step = self._opened(predictor).step(state.current)
        if step is None:
            search.ended = search.state.stopped
            return
        search.steps += 1
        state.current = step.current
        for attempt in step.attempts:
            taken = step.accepted and attempt.instruction == step.current[name]
            self._note(name, attempt, step.number, taken, step.current)
        best = max(map(mean, state.scores.validation.values()))
        status = f"{step.status}, best {best:.1%}, {shorten(state.current[name])!r}"
        bar.set_postfix_str(status, refresh=False)
        bar.update(self._percent() - bar.n)  # a run taken up begins in the middle
        if self.setup.progress and not redraws():
            print(f"{name}: step {step.number}, {status}", file=sys.stderr, flush=True)
        self._tell(self._event(name, step.number, step.accepted, tuple(step.attempts)))

    def _ending(self, predictor: Predictor) -> str:
        """Say why a predictor's search takes no further step; empty where it takes one."""
        steps = self.state.searches[predictor.name].steps
        if not steps and not self._called(predictor.name):
            return UNCALLED
        over = self.budget.over(len(self.setup.runner.train))
        hopeless = steps and self.state.meter.hopeless  # not even the first step gave one
        return over or ("no answer of any program could be read and scored" if hopeless else "")

    def _verdicts_runs(self) -> int:
        """Return how many runs finalists, one at least, and one without each change, will take."""
        known = sum(p in self.state.scores.validation for p in self._finalists())
        changes = len(self.state.current.changes(self.state.start))
        looks = max(1, self._looks() - known) + (changes if changes > 1 else 0)
        return looks * len(self.setup.runner.validation)

    def _percent(self) -> int:
        """Return how much of the steps, or of what bounds the run, is done."""
        setup, state = self.setup, self.state
        steps = sum(s.steps for s in state.searches.values())
        share = steps / (setup.config.max_steps * len(setup.runner.predictors))
        return round(100 * min(1.0, max(share, setup.bounds.used(state.meter.total()))))

    def _called(self, name: str) -> bool:
        """Whether any run of the current program on a training example called a predictor.

        All count where none was heard of (called in threads of its own), or no run came to its end.
        """
        runs = self.board.runs(self.state.current, range(len(self.setup.runner.train)))
        called = {each for run in runs for each in run.calls}
        return name in called or not called or all(run.raised for run in runs)

    def _opened(self, predictor: Predictor) -> Schedule:
        """Return a predictor's schedule, begun if it has not."""
        state, setup, name = self.state, self.setup, predictor.name
        search = state.searches.get(name)
        if search is None:
            search = SearchUnderWay(setup.config.state_type(state.current[name]))
            state.searches[name] = search
            schedule = self._schedules[name] = self._schedule(predictor, search)
            self._note(name, schedule.begin(state.current), 0, True, state.current)
            self.budget.turn(name)
            self._fit_verdict()
            if self._called(name):
                announce(setup, self.budget, name, self._looks() * len(setup.runner.validation))
            self._begin()
        elif name not in self._schedules:  # taken up from an earlier process
            self._schedules[name] = self._schedule(predictor, search)
        return self._schedules[name]

    def _schedule(self, predictor: Predictor, search: SearchUnderWay) -> Schedule:
        setup = self.setup
        view = self.view(predictor, self.state.current, setup.config.needs_labels)
        seed = f"{setup.seed} {predictor.name}"
        return setup.config.schedule(view, self.board, seed, search.state)

    def _race_first(self) -> None:
        """Let sets of demos race the user's, then whole programs the winner's."""
        setup, state, runner = self.setup, self.state, self.setup.runner
        state.raced = True
        if DEMOS in state.start:
            seed = f"{setup.seed} {DEMOS}"
            self._go_on_from(DemoRace(state.start, self.board, seed, self._shown), DEMOS)
        views = {each.name: self.view(each, state.current) for each in runner.predictors}
        seed = f"{setup.seed} {TOGETHER}"
        race = setup.config.joint_race(views, state.current, self.board, seed)
        if len(views) > 1 and race is not None:
            self._go_on_from(race, TOGETHER)

    def _shown(self) -> dict[int, Shown]:
        """Return what training examples can show as demos, by index."""
        setup, train = self.setup, self.setup.runner.train
        runs = self.board.runs(self.state.start, range(len(train)))
        return shown_by(setup.runner.predictors, train, setup.labels, runs)

    def _shown_in(self, program: Program) -> set[int]:
        """Return the training examples that a program shows."""
        words = program.around(DEMOS).values()
        return examples_of(program.demos) | shown_in(words, self.setup.runner.train)

    def _go_on_from(self, race: OpeningRace, kind: str) -> None:
        """Hold a race, put it on record and go on from its winner."""
        state, before = self.state, race.current
        state.meter.turn(kind)
        race.begin()
        self.budget.turn(kind)
        self._fit_verdict()
        self._begin()
        self.budget.turn(kind)
        moving = [name for name in race.parts if name == DEMOS or self._called(name)]
        programs = race.programs(moving) if race.hopeful() else []
        winner = race.winner(programs) if programs else None
        state.current = winner or before
        self.board.hold(state.current)
        for name in race.parts:
            self._note(name, self._attempt(name, before, race.order, "start"), 0, True, before)
            attempts = [self._attempt(name, p, race.order, kind) for p in programs]
            if not programs or name not in moving:
                continue
            for program, attempt in zip(programs, attempts, strict=True):
                self._note(name, attempt, 0, program == winner, program)
            event = self._event(name, 0, winner is not None, tuple(attempts))
            state.untold.append(event)

    def _begin(self) -> None:
        """Before the work, say how many answers can be read, and let faults in the valset show."""
        board, start = self.board, self.state.start
        if start in self.state.scores.validation:
            return
        runs = board.runs(start, list(self.state.scores.training[start]))
        if told := unreadable(runs):
            say(told, self.setup.progress)
        board.validation_score(start)
        known, confidence = self.state.scores.validation[start], self.setup.confidence
        wrong = sum(score < 1 for score in known)
        if 0.5**wrong >= 1 - confidence:  # the p-value of a gain on all of them
            say(
                f"{wrong} of {len(known)} validation examples are left to gain on, too few to "
                f"prove a gain at confidence={confidence:g}: give more examples"
                + (", or lower it" if confidence > 0.5 else ""),
                self.setup.progress,
            )

    def _attempt(self, name: str, program: Program, order: Sequence[int], kind: str) -> Attempt:
        """Return a program that raced, as an attempt of one of its parts."""
        scores = tuple(self.board.training_scores(program, order))
        return Attempt(program[name], kind, None, scores)

    def _event(
        self, name: str, number: int, accepted: bool, attempts: tuple[Attempt, ...]
    ) -> StepEvent:
        state = self.state
        return StepEvent(
            predictor=name,
            step=number,
            instruction=state.current[name],
            accepted=accepted,
            attempts=attempts,
            validation_score=self.board.validation_score(state.current),
            **asdict(state.meter.total()),
        )

    def _tell(self, event: StepEvent) -> None:
        """Keep the state after a step, and tell the callback, who may end it all."""
        setup, state = self.setup, self.state
        event = replace(event, **asdict(state.meter.total()))
        if setup.checkpoint is not None:
            setup.checkpoint.save(state.dump(), asdict(event))
            if event.accepted:
                setup.checkpoint.save_best(setup.runner.module(state.current))
        if setup.callback is not None and setup.callback(event):
            self.stopped = "stopped by the callback"

    def _note(
        self, name: str, attempt: Attempt, step: int, accepted: bool, program: Program
    ) -> None:
        """Put an instruction that was tried within a program on record, once."""
        others = program.changes(self.state.start)
        others.pop(name, None)
        record, key = self.state.record, (name, attempt.instruction, others)
        known = next(
            (c for c in record.candidates if (c.predictor, c.instruction, c.others) == key), None
        )
        if known is None:
            place = (name, attempt.instruction, step, attempt.kind, attempt.position)
            known = Candidate(*place, list(attempt.scores), attempt.estimate, others=others)
            record.candidates.append(known)
        known.accepted |= accepted
