"""One compile under way: search on the training examples, vouch on the validation examples."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.backend import Backend, Target
from dspy_greater.checkpoint import Checkpoint
from dspy_greater.lm import white_box
from dspy_greater.model.counts import Counts
from dspy_greater.outcomes import (
    Candidate,
    ChangedExample,
    ExampleGradient,
    Outcome,
    StepEvent,
)
from dspy_greater.phases import ANY
from dspy_greater.program import (
    Component,
    Metric,
    Run,
    current_adapter,
    excerpt,
    labelled_fields,
    replace_instruction,
)
from dspy_greater.results import DetailedResults
from dspy_greater.search import (
    Attempt,
    Budget,
    PaperConfig,
    PredictorSubject,
    Schedule,
    Verdict,
    VerifiedConfig,
    compare,
    gradient_norms,
    instructions_of,
    log_likelihood,
)
from dspy_greater.served import check_served, prompts_of
from dspy_greater.turns import GRADIENTS, Turns

logger = logging.getLogger(__name__)


@dataclass
class Compilation:
    """State of one compile: the program so far and the record of what was tried.

    Args:
        student: The user's program; never changed.
        train: Examples that the search sees.
        validation: Examples on which instructions are vouched for.
        metric: Scores a run of the program.
        lm: The white box as a DSPy LM.
        confidence: With which a program must beat the student's on ``validation``.
        perfect_score: Mean score at which the search stops.
        num_threads: Threads of one evaluation.
        max_errors: Failing examples after which an evaluation is given up.
        progress: Whether to show a progress bar.
        budget: Bounds of the whole compile.
        callback: Told of every step; ends the search by returning True.
        checkpoint: Where the state is kept after every step, and taken up from.
        parts: The predictors to optimize.
        target: What candidates are verified on; None for the white box.
        rollout_lm: What runs in the place of the white box; None for itself.
        labels: By predictor, its labels for each training example, where they are not those in
            the examples.

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
    parts: Sequence[Component] = ()
    target: Target | None = None
    rollout_lm: BaseLM | None = None
    labels: Mapping[str, Sequence[dspy.Example]] = field(default_factory=dict)
    record: DetailedResults = field(default_factory=DetailedResults)

    def __post_init__(self) -> None:
        self.model = white_box(self.lm)
        self.backend = Backend(
            self.lm,
            self.target,
            self.metric,
            self.num_threads,
            self.max_errors,
            self.rollout_lm,
        )
        self.instructions: dict[str, str] = {}
        self.interrupted = False
        self.record.train_examples = len(self.train)
        self.record.validation_examples = len(self.validation)
        self.record.model = f"{self.model.name}@{self.model.fingerprint}"
        self.record.target = str(self.target or "")
        self.record.rollout_lm = self.rollout_lm.model if self.rollout_lm else ""
        self._began = time.perf_counter()
        self._counts = self.model.counts.snapshot()
        self._phases = self.model.phases.seconds()
        self._progress: dict[str, Any] = {}
        if self.checkpoint is not None and self.checkpoint.state is not None:
            self._restore(self.checkpoint.state)

    @property
    def program(self) -> dspy.Module:
        """A fresh copy of the student with the instructions vouched for so far."""
        return self._with(self.instructions)

    def _with(self, instructions: Mapping[str, str]) -> dspy.Module:
        """Return a copy of the student with some instructions, an agent's list of tools behind."""
        parts = {part.name: part for part in self.parts}
        whole = {name: parts[name].whole(text) for name, text in instructions.items()}
        return replace_instruction(self.student, whole)

    def subject(
        self,
        component: Component,
        instructions: Mapping[str, str] | None = None,
        labelled_only: bool = False,
    ) -> PredictorSubject:
        """Return a predictor as the search sees it.

        Args:
            component: The predictor.
            instructions: Of the program around it; None for the one vouched for so far.
            labelled_only: Whether to leave out training examples without a label for it.
        """
        given = self.labels.get(component.name)
        kept = [
            index
            for index, labels in enumerate(given or self.train)
            if not labelled_only or labelled_fields(component, labels)
        ]
        around = self.instructions if instructions is None else instructions
        return PredictorSubject(
            program=self._with(around),
            component=component,
            examples=[self.train[index] for index in kept],
            run=self._run,
            model=self.model,
            adapter=current_adapter(),
            sampler=self._sample,
            labels=None if given is None else [given[index] for index in kept],
        )

    def check(self, temperature: float | None = None) -> None:
        """Refuse what cannot be searched, or not run in the white box's place, before long work."""
        for component in self.parts:
            self.subject(component).check()
        if self.rollout_lm is not None:
            prompts = prompts_of(self.parts, self.train, current_adapter())
            check_served(self.rollout_lm, self.model, prompts, temperature)

    def improve(self, config: PaperConfig | VerifiedConfig, *, round_robin: bool = False) -> None:
        """Search the predictors' instructions and keep the best program that can be vouched for.

        Ctrl-C ends the search with what it has.

        Args:
            config: Settings of each search.
            round_robin: Whether they take turns; see :mod:`dspy_greater.turns`.
        """
        if self.record.outcomes:
            return  # by an earlier process
        turns = Turns(self, self.parts, config, round_robin)
        if self._progress:
            turns.load(self._progress)
        try:
            stopped = turns.take()
        except KeyboardInterrupt:
            self.interrupted, stopped = True, "interrupted"
        if turns.start in turns.validation.validated:
            self._conclude(turns, stopped)

    def spent(self) -> dict[str, Any]:
        """Return what the compile has cost so far, as budgets measure it."""
        return {
            "metric_calls": self.record.total_calls,
            "tokens": (self.model.counts - self._counts).tokens + self.record.rollout_tokens,
            "seconds": time.perf_counter() - self._began,
        }

    def keep(
        self, progress: dict[str, Any], event: StepEvent, instructions: Mapping[str, str]
    ) -> None:
        """Write the state after a step, and after an accepted edit the program that it made."""
        if self.checkpoint is None:
            return
        self.checkpoint.save(self._state(progress), asdict(event))
        if event.accepted:
            self.checkpoint.save_best(self._with(instructions))

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

    def end(self) -> dict[str, Any]:
        """Say what came of it, and return that as plain data; see :func:`finished`."""
        self._account()
        record = self.record
        logger.log(logging.INFO if record.improved else logging.WARNING, record.summary())
        whole = {
            part.name: part.whole(self.instructions[part.name])
            for part in self.parts
            if part.name in self.instructions
        }
        return {"instructions": whole, "record": record.to_dict()}

    def _run(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        samplings: Sequence[dict[str, Any]] | None = None,
    ) -> list[list[Run]]:
        """Run programs on what verifies them and keep count of what it cost."""
        results = self.backend.verify(programs, examples, samplings)
        elsewhere = self.target is not None
        served = not elsewhere and self.rollout_lm is not None
        self.record.note(results, on_target=elsewhere, on_rollout_lm=served)
        return results

    def _sample(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        samplings: Sequence[dict[str, Any]] | None = None,
    ) -> list[list[Run]]:
        """Run programs on the white box, or in its place, and keep count of what it cost."""
        results = self.backend.sample(programs, examples, samplings)
        self.record.note(results, on_rollout_lm=self.rollout_lm is not None)
        return results

    def roll_out(
        self,
        programs: Sequence[Mapping[str, str]],
        examples: Sequence[int],
        limit: int | None = None,
    ) -> list[list[Run]]:
        """Run the program under several sets of instructions on training examples.

        Args:
            programs: Instructions by predictor.
            examples: Indices.
            limit: Most tokens of an answer; see :meth:`Backend.verify`.
        """
        twins = [self._with(each) for each in programs]
        samplings = None if limit is None else [{"max_tokens": limit}] * len(twins)
        return self._run(twins, [self.train[index] for index in examples], samplings)

    def validate(self, instructions: Mapping[str, str]) -> list[float]:
        """Score the program under some instructions on the validation examples."""
        (runs,) = self._run([self._with(instructions)], self.validation)
        return [run.score for run in runs]

    def note(
        self,
        component: Component,
        attempt: Attempt,
        step: int,
        held: bool,
        others: dict[str, str],
    ) -> None:
        """Put an instruction that was tried in a program on record, once."""
        known = next(
            (
                candidate
                for candidate in self._tried(component)
                if candidate.instruction == attempt.instruction and candidate.others == others
            ),
            None,
        )
        if known is None:
            known = Candidate.of(component.name, step, attempt, others)
            self.record.candidates.append(known)
        known.accepted |= held

    def _tried(self, component: Component) -> Iterator[Candidate]:
        return (c for c in self.record.candidates if c.predictor == component.name)

    def _conclude(self, turns: Turns, stopped: str) -> None:
        """Keep the best program that beats the student's beyond doubt, and say what came of it."""
        verdict = turns.verdict()
        self.instructions = turns.changed(instructions_of(verdict.instruction))
        for candidate in self.record.candidates:
            there = {**candidate.others, candidate.predictor: candidate.instruction}
            candidate.validation_scores = turns.validation_scores(there)
        for component in turns.parts:
            search = turns.searches.get(component.name)
            reason = turns.ended.get(component.name, stopped)
            schedule = search.schedule if search else None
            self.record.skipped_losses += schedule.skipped if schedule else 0
            self.record.outcomes.append(self._outcome(component, schedule, turns, verdict, reason))
        if self.checkpoint is not None and not self.interrupted:
            for outcome in self.record.outcomes:
                self.checkpoint.save(self._state(), asdict(outcome))
            self.checkpoint.save_best(self.program)

    def _outcome(
        self,
        component: Component,
        schedule: Schedule | None,
        turns: Turns,
        verdict: Verdict,
        stopped: str,
    ) -> Outcome:
        """Return what became of one predictor."""
        validated = turns.validation.validated
        before, name = component.instruction, component.name
        after, changed = self.instructions.get(name, before), name in self.instructions
        # Where this predictor is as it was, the program without its change is the same program.
        scores_after = validated[verdict.instruction]
        scores_before = validated[turns.start] if changed else scores_after
        comparison = verdict.comparison if changed else compare(scores_after, scores_before)
        subject = self.subject(component)
        likelihoods = log_likelihood(subject, [before, after], range(min(8, len(self.train))))
        steps = max((c.step for c in self._tried(component)), default=0)
        return Outcome(
            predictor=name,
            before=before,
            after=after,
            score_before=mean(scores_before),
            score_after=mean(scores_after),
            gain=comparison.gain,
            interval=comparison.interval,
            p_value=verdict.p_value if changed else 1.0,
            looks=verdict.looks,
            steps=steps,
            stopped=stopped,
            together=list(self.instructions) if changed and len(self.instructions) > 1 else [],
            noise=schedule.noise if schedule else None,
            stood_in=schedule.stood_in if schedule else 0,
            tokens_before=len(subject.tokens(before)),
            tokens_after=len(subject.tokens(after)),
            perplexity_before=math.exp(-likelihoods[0]),
            perplexity_after=math.exp(-likelihoods[1]),
            copied_words=list(subject.copied_words(after)),
            token_texts=self.model.encoder.pieces(subject.tokens(after)),
            gradients=self._gradients(subject, after) if steps or changed else [],
            changed_examples=self._changed(scores_before, scores_after),
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


def finished(student: dspy.Module, end: Mapping[str, Any]) -> dspy.Module:
    """Return the program that a compile ended with, and its record on it.

    Args:
        student: The program that it began with.
        end: What :meth:`Compilation.end` returned.
    """
    program = replace_instruction(student, end["instructions"])
    record = program.detailed_results = DetailedResults.from_dict(end["record"])
    program.candidate_programs = [
        {
            "predictor": candidate.predictor,
            "instruction": candidate.instruction,
            "score": candidate.validation_score,
            "train_score": candidate.train_score,
            "others": candidate.others,
        }
        for candidate in sorted(record.candidates, key=_standing, reverse=True)
    ]
    return program


def _standing(candidate: Candidate) -> tuple[float, float]:
    """Order candidates by validation score where they have one, then by training score."""
    score = candidate.validation_score
    return (-1.0 if score is None else score, candidate.train_score)
