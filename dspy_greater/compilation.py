"""One compile under way: search on the training examples, vouch on the validation examples."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import mean

import dspy
from tqdm.auto import tqdm

from dspy_greater.lm import white_box
from dspy_greater.program import (
    Component,
    Metric,
    Run,
    current_adapter,
    replace_instruction,
    run_programs,
)
from dspy_greater.results import Candidate, DetailedResults, Outcome
from dspy_greater.search import PaperConfig, PaperSchedule, PredictorSubject, Trial, choose

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
        confidence: With which an instruction must beat the old one on ``validation``.
        perfect_score: Mean score at which the search stops.
        num_threads: Threads of one evaluation.
        max_errors: Failing examples after which an evaluation is given up.
        progress: Whether to show a progress bar.
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
    record: DetailedResults = field(default_factory=DetailedResults)

    def __post_init__(self) -> None:
        self.model = white_box(self.lm)
        self.instructions: dict[str, str] = {}
        self.record.train_examples = len(self.train)
        self.record.validation_examples = len(self.validation)
        self.record.model = f"{self.model.name}@{self.model.fingerprint}"
        self._began = time.perf_counter()
        self._counts = self.model.counts.snapshot()

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
        )

    def check(self, components: Sequence[Component]) -> None:
        """Refuse instructions and examples that cannot be searched, before any long work."""
        for component in components:
            self.subject(component).check()

    def improve(self, component: Component, config: PaperConfig, rng: random.Random) -> None:
        """Search one predictor's instruction and keep the best that can be vouched for."""
        before = component.signature.instructions
        schedule = PaperSchedule(self.subject(component), config, rng)
        (start,) = schedule.try_out([before])
        self._note(component, start, step=0, position=None, held=True)
        validated = {before: self._validate(component, before)}
        if self._perfect(start, validated[before]):
            return self._conclude(component, validated, 0, "nothing left to gain")
        steps, stopped = 0, "all steps taken"
        with tqdm(total=config.max_steps, desc=component.name, disable=not self.progress) as bar:
            for step in schedule.steps(before):
                steps, held = step.number, step.incumbent
                for trial in step.tried:
                    accepted = step.accepted and trial is held
                    self._note(component, trial, steps, step.position, held=accepted)
                if held.instruction not in validated:
                    validated[held.instruction] = self._validate(component, held.instruction)
                self._show(bar, held, validated)
                if self._perfect(held, validated[held.instruction]):
                    stopped = "a perfect score"
                    break
        self.record.skipped_losses += schedule.skipped
        return self._conclude(component, validated, steps, stopped)

    def _show(self, bar: tqdm, held: Trial, validated: dict[str, list[float]]) -> None:
        """Advance the progress bar: loss, best validation score, instruction so far."""
        best = max(mean(scores) for scores in validated.values())
        bar.set_postfix_str(
            f"loss {held.loss:.3f}, best {best:.1%}, {_shorten(held.instruction)!r}", refresh=False
        )
        bar.update()

    def result(self) -> dspy.Module:
        """Return the program with its record, and say what came of it."""
        record, program = self.record, self.program
        record.seconds = time.perf_counter() - self._began
        record.counts = asdict(self.model.counts - self._counts)
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
        self, programs: Sequence[dspy.Module], examples: Sequence[dspy.Example]
    ) -> list[list[Run]]:
        """Run programs on the white box and keep count of what it cost."""
        results = run_programs(
            programs,
            examples,
            self.metric,
            lm=self.lm,
            num_threads=self.num_threads,
            max_errors=self.max_errors,
        )
        for runs in results:
            self.record.total_calls += len(runs)
            self.record.parse_failures += sum(run.parse_failed for run in runs)
        return results

    def _validate(self, component: Component, instruction: str) -> list[float]:
        """Score an instruction on the validation examples."""
        program = replace_instruction(self.program, {component.name: instruction})
        (runs,) = self._run([program], self.validation)
        scores = [run.score for run in runs]
        for candidate in self.record.candidates:
            if (candidate.predictor, candidate.instruction) == (component.name, instruction):
                candidate.validation_scores = scores
        return scores

    def _perfect(self, trial: Trial, validation_scores: list[float]) -> bool:
        """Whether neither training nor validation examples leave anything to gain."""
        if self.perfect_score is None:
            return False
        return min(trial.score, mean(validation_scores)) >= self.perfect_score

    def _note(
        self, component: Component, trial: Trial, step: int, position: int | None, held: bool
    ) -> None:
        """Put a tried instruction on record, once."""
        known = (
            candidate
            for candidate in self.record.candidates
            if (candidate.predictor, candidate.instruction) == (component.name, trial.instruction)
        )
        if candidate := next(known, None):
            candidate.accepted |= held
            return
        self.record.candidates.append(
            Candidate(
                predictor=component.name,
                instruction=trial.instruction,
                step=step,
                position=position,
                train_loss=trial.loss,
                train_scores=[run.score for run in trial.runs],
                train_losses=[loss if math.isfinite(loss) else None for loss in trial.losses],
                accepted=held,
            )
        )

    def _conclude(
        self, component: Component, validated: dict[str, list[float]], steps: int, stopped: str
    ) -> None:
        """Keep the best instruction that beats the old one beyond doubt."""
        before = component.signature.instructions
        verdict = choose(validated, before, self.confidence)
        after = verdict.instruction
        if after != before:
            self.instructions[component.name] = after
        self.record.outcomes.append(
            Outcome(
                predictor=component.name,
                before=before,
                after=after,
                score_before=mean(validated[before]),
                score_after=mean(validated[after]),
                gain=verdict.comparison.gain,
                interval=verdict.comparison.interval,
                p_value=verdict.p_value,
                looks=verdict.looks,
                steps=steps,
                stopped=stopped,
            )
        )


def _standing(candidate: Candidate) -> tuple[float, float]:
    """Order candidates by validation score where they have one, then by training score."""
    score = candidate.validation_score
    return (-1.0 if score is None else score, candidate.train_score)


def _shorten(text: str, width: int = 60) -> str:
    """Fit an instruction on the progress line."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
