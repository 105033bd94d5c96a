"""One compile under way: search on the training examples, vouch on the validation examples."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any

import dspy
from tqdm.auto import tqdm

from dspy_greater.backend import Backend, Target
from dspy_greater.checkpoint import Checkpoint
from dspy_greater.lm import white_box
from dspy_greater.model.counts import Counts
from dspy_greater.phases import ANY
from dspy_greater.program import (
    Component,
    Metric,
    Run,
    current_adapter,
    excerpt,
    replace_instruction,
)
from dspy_greater.results import (
    Candidate,
    ChangedExample,
    DetailedResults,
    ExampleGradient,
    Outcome,
    StepEvent,
)
from dspy_greater.search import (
    Attempt,
    Budget,
    Judge,
    PaperConfig,
    PredictorSubject,
    Schedule,
    Step,
    VerifiedConfig,
    choose,
    gradient_norms,
    log_likelihood,
    schedule_for,
)

logger = logging.getLogger(__name__)

#: Training examples whose gradients go on record.
GRADIENTS = 8


@dataclass
class Compilation:
    """State of one compile: the program so far and the record of what was tried.

    Args:
        student: The user's program; never changed.
        train: Examples that the search sees.
        validation: Examples on which instructions are vouched for.
        metric: Scores a run of the program.
        lm: The white box as a DSPy LM.
        confidence: With which an instruction must beat the old one on ``validation``.
        perfect_score: Mean score at which the search stops.
        num_threads: Threads of one evaluation.
        max_errors: Failing examples after which an evaluation is given up.
        progress: Whether to show a progress bar.
        budget: Bounds of the whole compile.
        callback: Told of every step; ends the search by returning True.
        checkpoint: Where the state is kept after every step, and taken up from.
        target: What candidates are verified on; None for the white box.

    Attributes:
        interrupted: Whether the user ended the search, by Ctrl-C or by the callback.
    """

    student: dspy.Module
    train: list[dspy.Example]
    validation: list[dspy.Example]
    metric: Metric
    lm: dspy.LM
    confidence: float
    perfect_score: float | None
    num_threads: int | None
    max_errors: int | None
    progress: bool
    budget: Budget
    callback: Callable[[StepEvent], bool | None] | None
    checkpoint: Checkpoint | None = None
    target: Target | None = None
    record: DetailedResults = field(default_factory=DetailedResults)

    def __post_init__(self) -> None:
        self.model = white_box(self.lm)
        self.backend = Backend(self.lm, self.target, self.metric, self.num_threads, self.max_errors)
        self.instructions: dict[str, str] = {}
        self.interrupted = False
        self.record.train_examples = len(self.train)
        self.record.validation_examples = len(self.validation)
        self.record.model = f"{self.model.name}@{self.model.fingerprint}"
        self.record.target = str(self.target or "")
        self._began = time.perf_counter()
        self._counts = self.model.counts.snapshot()
        self._phases = self.model.phases.seconds()
        self._progress: dict[str, Any] = {}
        self._share = self.budget
        if self.checkpoint is not None and self.checkpoint.state is not None:
            self._restore(self.checkpoint.state)

    @property
    def program(self) -> dspy.Module:
        """A fresh copy of the student with the instructions vouched for so far."""
        return replace_instruction(self.student, self.instructions)

    def subject(self, component: Component) -> PredictorSubject:
        """Return the predictor as the search sees it, in the program so far."""
        return PredictorSubject(
            program=self.program,
            component=component,
            examples=self.train,
            run=self._run,
            model=self.model,
            adapter=current_adapter(),
            sampler=self._sample,
        )

    def check(self, components: Sequence[Component]) -> None:
        """Refuse instructions and examples that cannot be searched, before any long work."""
        for component in components:
            self.subject(component).check()

    def improve(
        self, component: Component, config: PaperConfig | VerifiedConfig, parts: int = 1
    ) -> None:
        """Search one predictor's instruction and keep the best that can be vouched for.

        Ctrl-C ends the search with what it has.

        Args:
            component: The predictor.
            config: Settings of the search.
            parts: Predictors among which what is left of the budget is shared.
        """
        if any(outcome.predictor == component.name for outcome in self.record.outcomes):
            return  # by an earlier process
        before = component.instruction
        judge = Judge(lambda text: self._validate(component, text), self.perfect_score)
        schedule = schedule_for(
            config,
            self.subject(component),
            judge,
            start=before,
            train_examples=len(self.train),
            seed=f"{self.record.seed} {component.name}",
        )
        self._share = self.budget.share(parts, **self._spent())
        if saved := self._progress.pop(component.name, None):
            judge.validated.update(saved["validated"])
            schedule.load(saved["search"])
            self._share = Budget(**saved["budget"])
        try:
            stopped = self._follow(component, schedule, judge, config)
        except KeyboardInterrupt:
            self.interrupted, stopped = True, "interrupted"
        self.record.skipped_losses += schedule.skipped
        self._note_validation(component, judge)
        if before in judge.validated:
            self._conclude(component, schedule, judge, stopped)
            if self.checkpoint is not None and not self.interrupted:
                self.checkpoint.save(self._state(), asdict(self.record.outcomes[-1]))
                self.checkpoint.save_best(self.program)

    def _follow(
        self,
        component: Component,
        schedule: Schedule,
        judge: Judge,
        config: PaperConfig | VerifiedConfig,
    ) -> str:
        """Take the schedule's steps until it, the budget or the callback ends them; say which."""
        began = time.perf_counter()
        self._note(component, schedule.begin(), step=0, held=True)
        self._estimate(component, config, time.perf_counter() - began)
        with tqdm(total=config.max_steps, desc=component.name, disable=not self.progress) as bar:
            for step in schedule.steps():
                self._note_step(component, step)
                self._show(bar, step, judge)
                event = self._event(component, step, judge)
                self._keep(component, schedule, judge, event)
                if self.callback is not None and self.callback(event):
                    self.interrupted = True
                    return "stopped by the callback"
                if spent := self._share.spent(
                    metric_calls=event.metric_calls, tokens=event.tokens, seconds=event.seconds
                ):
                    return spent
        return schedule.stopped

    def _estimate(
        self, component: Component, config: PaperConfig | VerifiedConfig, seconds: float
    ) -> None:
        """Say what the search may cost, from the time that the first runs took."""
        if not self.progress:
            return
        runs = config.most_runs(len(self.train), len(self.validation))
        runs += min(GRADIENTS, len(self.train))
        each = seconds / len(self.train)
        bounds = [f"{name}={value:,}" for name, value in vars(self._share).items() if value]
        target, cost = "", ""
        if self.target is not None:
            verified = runs - config.most_sampled(len(self.train))
            target = f", {verified:,} of them on {self.target}"
            cost = f" and {self.record.target_spent()}"
        tqdm.write(
            f"{component.name}: at most {runs:,} runs of the program in {config.max_steps:,} steps"
            f"{target}{''.join(f', {bound}' for bound in bounds)}; the first {len(self.train)} "
            f"took {seconds:.1f} s, {each:.2f} s each{cost}",
            file=sys.stderr,
        )

    def _event(self, component: Component, step: Step, judge: Judge) -> StepEvent:
        return StepEvent(
            predictor=component.name,
            step=step.number,
            instruction=step.held,
            accepted=step.accepted,
            attempts=tuple(step.attempts),
            validation_score=judge.score(step.held),
            **self._spent(),
        )

    def _spent(self) -> dict[str, Any]:
        """Return what the compile has cost so far, as budgets measure it."""
        return {
            "metric_calls": self.record.total_calls,
            "tokens": (self.model.counts - self._counts).tokens,
            "seconds": time.perf_counter() - self._began,
        }

    def _keep(
        self, component: Component, schedule: Schedule, judge: Judge, event: StepEvent
    ) -> None:
        """Write the state after a step, and the best program after an accepted edit."""
        if self.checkpoint is None:
            return
        progress = {
            "search": schedule.dump(),
            "validated": judge.validated,
            "budget": asdict(self._share),
        }
        self.checkpoint.save(self._state({component.name: progress}), asdict(event))
        if event.accepted:
            instructions = {component.name: component.whole(event.instruction)}
            self.checkpoint.save_best(replace_instruction(self.program, instructions))

    def _state(self, progress: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return all that it takes to go on."""
        self._account()
        return {
            "instructions": self.instructions,
            "record": self.record.to_dict(),
            "progress": progress or {},
        }

    def _restore(self, saved: dict[str, Any]) -> None:
        """Go on from what ``_state`` returned."""
        self.instructions = dict(saved["instructions"])
        self.record = DetailedResults.from_dict(saved["record"])
        self._progress = dict(saved["progress"])
        self._counts = self._counts - Counts(**self.record.counts)
        self._began -= self.record.seconds
        busy = self.record.seconds - self.record.phases["other"]
        earlier = {**self.record.phases, ANY: busy}
        self._phases = {
            name: began - earlier.get(name, 0.0) for name, began in self._phases.items()
        }

    def _account(self) -> None:
        """Put time and work so far on record."""
        self.record.seconds = time.perf_counter() - self._began
        self.record.counts = (self.model.counts - self._counts).to_dict()
        spent = {
            name: total - self._phases[name] for name, total in self.model.phases.seconds().items()
        }
        other = self.record.seconds - spent.pop(ANY)
        self.record.phases = {**spent, "other": other}
        self.record.peak_memory = self.model.peak_memory()

    def _show(self, bar: tqdm, step: Step, judge: Judge) -> None:
        """Advance the progress bar: status, best validation score, instruction so far."""
        bar.set_postfix_str(
            f"{step.status}, best {judge.best:.1%}, {_shorten(step.held)!r}", refresh=False
        )
        bar.update(step.number - bar.n)  # a run taken up begins in the middle

    def result(self) -> dspy.Module:
        """Return the program with its record, and say what came of it."""
        record, program = self.record, self.program
        self._account()
        program.detailed_results = record
        program.candidate_programs = [
            {
                "predictor": candidate.predictor,
                "instruction": candidate.instruction,
                "score": candidate.validation_score,
                "train_score": candidate.train_score,
            }
            for candidate in sorted(record.candidates, key=_standing, reverse=True)
        ]
        logger.log(logging.INFO if record.improved else logging.WARNING, record.summary())
        return program

    def _run(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        samplings: Sequence[dict[str, Any]] | None = None,
    ) -> list[list[Run]]:
        """Run programs on what verifies them and keep count of what it cost."""
        results = self.backend.verify(programs, examples, samplings)
        self.record.note(results, on_target=self.target is not None)
        return results

    def _sample(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        samplings: Sequence[dict[str, Any]] | None = None,
    ) -> list[list[Run]]:
        """Run programs on the white box and keep count of what it cost."""
        results = self.backend.sample(programs, examples, samplings)
        self.record.note(results)
        return results

    def _validate(self, component: Component, instruction: str) -> list[float]:
        """Score an instruction on the validation examples."""
        whole = component.whole(instruction)
        program = replace_instruction(self.program, {component.name: whole})
        (runs,) = self._run([program], self.validation)
        return [run.score for run in runs]

    def _note_step(self, component: Component, step: Step) -> None:
        for attempt in step.attempts:
            held = step.accepted and attempt.instruction == step.held
            self._note(component, attempt, step.number, held)

    def _note(self, component: Component, attempt: Attempt, step: int, held: bool) -> None:
        """Put a tried instruction on record, once."""
        known = self._on_record(component, attempt.instruction)
        if known is None:
            known = Candidate.of(component.name, step, attempt)
            self.record.candidates.append(known)
        known.accepted |= held

    def _note_validation(self, component: Component, judge: Judge) -> None:
        for instruction, scores in judge.validated.items():
            if candidate := self._on_record(component, instruction):
                candidate.validation_scores = scores

    def _tried(self, component: Component) -> Iterator[Candidate]:
        return (c for c in self.record.candidates if c.predictor == component.name)

    def _on_record(self, component: Component, instruction: str) -> Candidate | None:
        return next((c for c in self._tried(component) if c.instruction == instruction), None)

    def _conclude(
        self, component: Component, schedule: Schedule, judge: Judge, stopped: str
    ) -> None:
        """Keep the best instruction that beats the old one beyond doubt."""
        before = component.instruction
        verdict = choose(judge.validated, before, self.confidence)
        after = verdict.instruction
        subject = self.subject(component)
        likelihoods = log_likelihood(subject, [before, after], range(min(8, len(self.train))))
        steps = max((c.step for c in self._tried(component)), default=0)
        if after != before:
            self.instructions[component.name] = component.whole(after)
        self.record.outcomes.append(
            Outcome(
                predictor=component.name,
                before=before,
                after=after,
                score_before=mean(judge.validated[before]),
                score_after=mean(judge.validated[after]),
                gain=verdict.comparison.gain,
                interval=verdict.comparison.interval,
                p_value=verdict.p_value,
                looks=verdict.looks,
                steps=steps,
                stopped=stopped,
                noise=schedule.noise,
                stood_in=schedule.stood_in,
                tokens_before=len(subject.tokens(before)),
                tokens_after=len(subject.tokens(after)),
                perplexity_before=math.exp(-likelihoods[0]),
                perplexity_after=math.exp(-likelihoods[1]),
                copied_words=list(subject.copied_words(after)),
                token_texts=self.model.encoder.pieces(subject.tokens(after)),
                gradients=self._gradients(subject, after) if steps else [],
                changed_examples=self._changed(judge.validated[before], judge.validated[after]),
            )
        )

    def _gradients(self, subject: PredictorSubject, instruction: str) -> list[ExampleGradient]:
        """Return where gold answers pull at an instruction; nothing after an interruption.

        The search is over and its result must not be lost, so whatever fails here is left out.
        """
        if self.interrupted:
            return []
        try:
            norms = gradient_norms(subject, instruction, range(min(GRADIENTS, len(self.train))))
        except KeyboardInterrupt:
            self.interrupted = True
            return []
        except Exception as error:
            logger.warning("No gradient of the final instruction goes on record: %s", error)
            return []
        return [ExampleGradient(i, **excerpt(self.train[i]), norms=n) for i, n in norms.items()]

    def _changed(self, before: list[float], after: list[float]) -> list[ChangedExample]:
        """Return the validation examples that two instructions do not do equally well on."""
        pairs = enumerate(zip(before, after, strict=True))
        return [
            ChangedExample(i, **excerpt(self.validation[i]), score_before=old, score_after=new)
            for i, (old, new) in pairs
            if old != new
        ]


def _standing(candidate: Candidate) -> tuple[float, float]:
    """Order candidates by validation score where they have one, then by training score."""
    score = candidate.validation_score
    return (-1.0 if score is None else score, candidate.train_score)


def _shorten(text: str, width: int = 60) -> str:
    """Fit an instruction on the progress line."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
