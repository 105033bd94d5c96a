"""The predictors' turns: whose instruction is searched next, and within which program.

Predictors are searched one after the other, each to its end (``"all"``), or take turns of one step
each (``"round_robin"``), until every one has ended. Either way all that is compared are whole
programs:

- *Training scores* of a predictor's instructions are scores of the program around them, and belong
  together only as long as its other predictors do not change. When one of them did since a
  predictor's last step, the search forgets every score and rollout it has, runs its incumbent
  again within the program as it now stands, and goes on from there; the number of its step, its
  patience and edits that looked promising stay, for none of these is a comparison. So what turns
  cost more than one search after the other is, for a change of one predictor, one run of each
  other's incumbent on the training examples.
- *Validation scores* are kept by whole program, whoever asked: the program that one predictor's
  accepted edit makes is the one within which the next is searched, and is not run twice. Each
  predictor's judge sees those programs alone that have the same other instructions.
- *The verdict* is on whole programs, too: of all that were validated, the best one that beats the
  student's beyond doubt is returned, and every one of them counts as a look. So no predictor's
  change is vouched for by itself, and none needs a share of the confidence.

One after the other, a search begins in the best program that could be vouched for so far. In turns
it begins in the one that is held: waiting for a verdict would make every step a look to pay for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from dspy_greater.outcomes import StepEvent
from dspy_greater.search import (
    Accounts,
    Attempt,
    Judge,
    PaperConfig,
    Schedule,
    Step,
    VerifiedConfig,
    WholeRace,
    choose,
    instructions_of,
    key,
    schedule_for,
)

if TYPE_CHECKING:
    from dspy_greater.compilation import Compilation
    from dspy_greater.program import Component
    from dspy_greater.search import Verdict

#: In whose name the race of whole programs spends.
TOGETHER = "together"
#: Training examples whose gradients go on record.
GRADIENTS = 8


@dataclass
class Search:
    """One predictor's search under way.

    Attributes:
        start: The instruction that it began with.
        others: Instructions of the other predictors in the program within which all that it
            remembers was measured.
        schedule: The search.
        steps: Its steps still to come.
    """

    start: str
    others: dict[str, str]
    schedule: Schedule
    steps: Iterator[Step]


class Turns:
    """All predictors' searches, whose turn it is, and the programs that were validated.

    Args:
        compilation: Runs programs, keeps the record and the budget.
        parts: The predictors to optimize, in the program's order.
        config: Settings of each search.
        round_robin: Whether predictors take turns.

    Attributes:
        start: The student's program, by :func:`dspy_greater.search.key`.
        held: Instructions of the program as it stands.
        validation: Validation scores by program.
        searches: Those that have begun, by predictor.
        accounts: What each search has spent.
        ended: Why each search that is over ended.
    """

    def __init__(
        self,
        compilation: Compilation,
        parts: Sequence[Component],
        config: PaperConfig | VerifiedConfig,
        round_robin: bool,
    ) -> None:
        self.compilation = compilation
        self.parts = parts
        self.config = config
        self.round_robin = round_robin
        self.held = {part.name: part.instruction for part in parts}
        self.start = key(self.held)
        self.validation = Judge(self._validate, compilation.perfect_score)
        self.searches: dict[str, Search] = {}
        self.ended: dict[str, str] = {}
        self._taken = dict.fromkeys(self.held, 0)
        self.accounts = Accounts(compilation.budget, compilation.spent, (TOGETHER, *self.held))
        self._raced = False
        self._untold: list[str] = []  # predictors whose event of the race is still to be told

    def take(self) -> str:
        """Take turns until every search, the budget or the callback ends them.

        Returns:
            Why those searches that have not ended go no further; empty where all have.
        """
        if not self._raced:
            self._race_together()
        while self._untold and not self.compilation.interrupted:
            self._tell_together(self._untold.pop(0))
        total = self.config.max_steps * len(self.parts)
        with tqdm(total=total, disable=not self.compilation.progress) as bar:
            while not self.compilation.interrupted and (part := self._next()) is not None:
                bar.set_description_str(part.name, refresh=False)
                self._turn(part, bar)
        return "stopped by the callback" if self.compilation.interrupted else ""

    def verdict(self) -> Verdict:
        """Return the best program so far that beats the student's beyond doubt."""
        return choose(self.validation.validated, self.start, self.compilation.confidence)

    def dump(self) -> dict[str, Any]:
        """Return, after a step, all that it takes to go on; JSON-able."""
        return {
            "held": self.held,
            "validated": self.validation.validated,
            "searches": {
                name: {
                    "start": search.start,
                    "others": search.others,
                    "search": search.schedule.dump(),
                }
                for name, search in self.searches.items()
            },
            "ended": self.ended,
            "taken": self._taken,
            "untold": self._untold,
            "spent": self.accounts.spent,
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on, in the next call of ``take``, from what ``dump`` returned."""
        self._raced, self._untold = True, list(saved["untold"])
        self.held, self.ended = dict(saved["held"]), dict(saved["ended"])
        self._taken, self.accounts.spent = dict(saved["taken"]), dict(saved["spent"])
        self.validation.validated.update(saved["validated"])
        for part in self.parts:
            if search := saved["searches"].get(part.name):
                self.searches[part.name] = self._opened(part, **search)

    def changed(self, instructions: Mapping[str, str]) -> dict[str, str]:
        """Return those of a program's instructions that the student does not have."""
        before = instructions_of(self.start)
        names = [part.name for part in self.parts]
        return {name: instructions[name] for name in names if instructions[name] != before[name]}

    def validation_scores(self, instructions: Mapping[str, str]) -> list[float] | None:
        """Return the validation scores of the student's program with some instructions changed."""
        program = key({**instructions_of(self.start), **instructions})
        return self.validation.validated.get(program)

    def _waiting(self) -> list[str]:
        """Return whose search goes on."""
        return [part.name for part in self.parts if part.name not in self.ended]

    def _next(self) -> Component | None:
        """Return whose turn it is: in the program's order, or who had the fewest."""
        waiting = [part for part in self.parts if part.name not in self.ended]
        if self.round_robin:
            waiting.sort(key=lambda part: self._taken[part.name])
        return waiting[0] if waiting else None

    def _turn(self, part: Component, bar: tqdm) -> None:
        """Let a predictor's search take one step, or end."""
        if self._taken[part.name] and (reason := self.accounts.over(part.name, self._waiting())):
            self._end(part, reason)
            return
        search = self._search(part)
        step = next(search.steps, None)
        if step is None:
            self.accounts.pay(part.name)
            self._end(part, search.schedule.stopped)
            return
        self._taken[part.name] += 1
        self.held[part.name] = step.held
        for attempt in step.attempts:
            taken = step.accepted and attempt.instruction == step.held
            self._note(part, attempt, step.number, taken)
        best = max(map(mean, self.validation.validated.values()))
        status = f"{step.status}, best {best:.1%}, {_shorten(step.held)!r}"
        bar.set_postfix_str(status, refresh=False)
        bar.update(sum(self._taken.values()) - bar.n)  # a run taken up begins in the middle
        self._tell(part, step.number, step.accepted, tuple(step.attempts))

    def _tell(
        self, part: Component, number: int, accepted: bool, attempts: tuple[Attempt, ...]
    ) -> None:
        """Keep the state after a step, and tell the callback, who may end it all."""
        self.accounts.pay(part.name)
        event = StepEvent(
            predictor=part.name,
            step=number,
            instruction=self.held[part.name],
            accepted=accepted,
            attempts=attempts,
            validation_score=self.validation.score(key(self.held)),
            **self.compilation.spent(),
        )
        self.compilation.keep(self.dump(), event, self.held)
        callback = self.compilation.callback
        if callback is not None and callback(event):
            self.compilation.interrupted = True

    def _end(self, part: Component, reason: str) -> None:
        self.ended[part.name] = reason
        if not self.round_robin:
            self.held = instructions_of(self.verdict().instruction)

    def _search(self, part: Component) -> Search:
        """Return a predictor's search, within the program as it now stands."""
        name, search = part.name, self.searches.get(part.name)
        others = {other: text for other, text in self.held.items() if other != name}
        if search is not None and search.others == others:
            return search
        if search is None:
            self.searches[name] = opened = self._opened(part, self.held[name], others)
            began = time.perf_counter()
            self._note(part, opened.schedule.begin(), step=0, held=True)
            self._estimate(part, time.perf_counter() - began)
            return opened
        moved = self._opened(part, search.start, others, search.schedule.dump())
        moved.schedule.forget()
        self.searches[name] = moved
        again = replace(moved.schedule.begin(), kind="again")
        self._note(part, again, self._taken[name], held=True)
        return moved

    def _opened(
        self,
        part: Component,
        start: str,
        others: Mapping[str, str],
        search: Mapping[str, Any] | None = None,
    ) -> Search:
        """Return a search within a program, taken up from its dump if there is one."""
        compilation, others = self.compilation, dict(others)
        labelled_only = isinstance(self.config, PaperConfig)
        subject = compilation.subject(part, {**others, part.name: start}, labelled_only)

        def validate(text: str) -> list[float]:
            program = key({**others, part.name: text})
            self.validation.score(program)
            return self.validation.validated[program]

        schedule = schedule_for(
            self.config,
            subject,
            Judge(validate, compilation.perfect_score),
            start=start,
            train_examples=len(subject.examples),
            seed=f"{compilation.record.seed} {part.name}",
        )
        if search is not None:
            schedule.load(search)
        return Search(start, others, schedule, schedule.steps())

    def _race_together(self) -> None:
        """Let whole programs race the student's, and go on from the winner."""
        self._raced = True
        config, compilation, many = self.config, self.compilation, len(self.parts) > 1
        if not isinstance(config, VerifiedConfig) or not many:
            return
        most = config.starts + len(config.instructions)
        if not most:
            return
        race = WholeRace(
            subjects={part.name: compilation.subject(part, self.held) for part in self.parts},
            start=dict(self.held),
            run=compilation.roll_out,
            config=config,
            judge=self.validation,
            size=len(compilation.train),
            seed=f"{compilation.record.seed} {TOGETHER}",
        )
        race.begin()
        self.validation.score(self.start)
        cost = self.accounts.pay(TOGETHER)
        count = self.accounts.affordable(most, cost, len(self.parts) + 1)
        programs = race.programs(count) if count and race.hopeful() else []
        winner = race.winner(programs) if programs else None
        if winner is not None:
            self.held = instructions_of(winner)
        self.accounts.pay(TOGETHER)
        for part in self.parts:
            for program in (self.start, *programs):
                instructions = instructions_of(program)
                attempt = Attempt(
                    instruction=instructions[part.name],
                    kind="start" if program == self.start else TOGETHER,
                    position=None,
                    scores=tuple(race.book.scores[program]),
                )
                held = program in (self.start, winner)
                self._note(part, attempt, step=0, held=held, others=instructions)
        self._untold = [part.name for part in self.parts] if programs else []

    def _tell_together(self, name: str) -> None:
        """Tell a predictor's event of the race from the record, so that it may be told later."""
        (part,) = (part for part in self.parts if part.name == name)
        attempts = tuple(
            Attempt(each.instruction, TOGETHER, None, tuple(each.train_scores))
            for each in self.compilation.record.candidates
            if (each.predictor, each.kind) == (name, TOGETHER)
        )
        self._tell(part, 0, key(self.held) != self.start, attempts)

    def _estimate(self, part: Component, seconds: float) -> None:
        """Say what a search may cost, from the time that the first runs took."""
        compilation, config = self.compilation, self.config
        if not compilation.progress:
            return
        train = len(compilation.train)
        runs = config.most_runs(train, len(compilation.validation)) + min(GRADIENTS, train)
        if self.round_robin and len(self.parts) > 1:
            runs += config.max_steps * train  # the incumbent, whenever another predictor changed
        bounds = [
            f"{name}={value:,}"
            for name, value in vars(self.accounts.bound(self._waiting())).items()
            if value
        ]
        where, cost = "", ""
        sampled = config.most_sampled(train)
        if compilation.target is not None:
            where += f", {runs - sampled:,} of them on {compilation.target}"
            cost += f" and {compilation.record.target_spent()}"
        if compilation.rollout_lm is not None:
            served = runs if compilation.target is None else sampled
            where += f", {served:,} of them on {compilation.rollout_lm.model}"
            cost += "" if cost else f" and {compilation.record.rollouts_spent()}"
        tqdm.write(
            f"{part.name}: at most {runs:,} runs of the program in {config.max_steps:,} steps"
            f"{where}{''.join(f', {bound}' for bound in bounds)}; the first {train} took "
            f"{seconds:.1f} s, {seconds / train:.2f} s each{cost}",
            file=sys.stderr,
        )

    def _note(
        self,
        part: Component,
        attempt: Attempt,
        step: int,
        held: bool,
        others: Mapping[str, str] | None = None,
    ) -> None:
        """Put an instruction on record, with those of the other predictors."""
        around = self.changed(self.held if others is None else others)
        around.pop(part.name, None)
        self.compilation.note(part, attempt, step, held, around)

    def _validate(self, program: str) -> list[float]:
        return self.compilation.validate(instructions_of(program))


def _shorten(text: str, width: int = 60) -> str:
    """Fit an instruction on the progress line."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
