"""What a record holds of single instructions, steps and predictors, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspy_greater.search import Attempt


@dataclass
class Candidate:
    """One instruction that was tried for one predictor.

    Attributes:
        predictor: Name of the predictor.
        instruction: The text; of an agent's instruction, what stands before DSPy's own part.
        step: Step in which it was first tried; 0 for the instruction at the start.
        kind: Where it comes from: ``"replace"``, ``"insert"``, ``"phrase"`` ...;
            ``"together"`` in the race of whole programs, ``"again"`` for the current one, run again
            because another predictor had changed.
        position: First token position that the edit changed; None at the start.
        train_scores: The metric on the training examples that it was run on.
        estimate: What the objective promised of it before it was run; None where nothing was
            estimated.
        validation_scores: The metric on each validation example; None where the candidate
            was never held by the search and so was not validated.
        accepted: Whether the search held it.
        others: Instructions of other predictors in the program in which it was run, where they
            are not the student's. All its scores are of that program.
    """

    predictor: str
    instruction: str
    step: int
    kind: str
    position: int | None
    train_scores: list[float]
    estimate: float | None = None
    validation_scores: list[float] | None = None
    accepted: bool = False
    others: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, predictor: str, step: int, attempt: Attempt, others: dict[str, str] | None = None
    ) -> Candidate:
        """Return an attempt as plain data."""
        return cls(
            predictor=predictor,
            instruction=attempt.instruction,
            step=step,
            kind=attempt.kind,
            position=attempt.position,
            train_scores=list(attempt.scores),
            estimate=attempt.estimate,
            others=others or {},
        )

    @property
    def train_score(self) -> float:
        """Mean metric on the training examples."""
        return mean(self.train_scores)

    @property
    def validation_score(self) -> float | None:
        """Mean metric on the validation examples, None where it was not validated."""
        return mean(self.validation_scores) if self.validation_scores else None


@dataclass(frozen=True)
class StepEvent:
    """What a callback is told after every step.

    Attributes:
        predictor: Name of the predictor being improved.
        step: Number of the step, from 1 for each predictor; 0 for the race of whole programs
            before, of which each predictor has an event.
        instruction: The instruction held now.
        accepted: Whether it changed in this step.
        attempts: What was run in this step.
        validation_score: Mean metric of ``instruction`` on the validation examples.
        metric_calls: Runs of the program so far, in the whole compile.
        tokens: Tokens through the model so far.
        seconds: Wall-clock time so far.
    """

    predictor: str
    step: int
    instruction: str
    accepted: bool
    attempts: tuple[Attempt, ...]
    validation_score: float
    metric_calls: int
    tokens: int
    seconds: float


@dataclass
class ChangedExample:
    """A validation example with another score under ``after`` than under ``before``.

    Attributes:
        index: Its place among the validation examples.
        inputs: The beginnings of its inputs, by field.
        labels: Of its labels.
        score_before: The metric under ``before``.
        score_after: The metric under ``after``.
    """

    index: int
    inputs: dict[str, str]
    labels: dict[str, str]
    score_before: float
    score_after: float

    @property
    def better(self) -> bool:
        """Whether ``after`` did better on it."""
        return self.score_after > self.score_before


@dataclass
class Outcome:
    """What became of one predictor's instruction.

    Attributes:
        predictor: Name of the predictor.
        before: Its instruction in the student.
        after: Its instruction in the returned program.
        score_before: Mean metric of the program on the validation examples under ``before``; where
            several predictors changed, without any of these changes.
        score_after: The same of the returned program.
        gain: Mean paired difference of the two.
        interval: 95 % interval of ``gain``.
        p_value: One-sided p-value of ``gain``, times ``looks``; 1 where nothing changed.
        looks: Programs that were tried on the validation examples besides the student's.
        steps: Steps of the search.
        stopped: Why it ended.
        together: The predictors that changed, if more than one did: scores, gain and p-value are
            of all these changes as a whole.
        noise: Noise floor: mean absolute change of a training example's score when the same
            prompt is run once more, in batches of another make-up; None if not measured.
        stood_in: Steps that the gold answer's likelihood led, because no run of the instruction
            held then earned a reward.
        tokens_before: Length of ``before`` in tokens of the white box.
        tokens_after: Length of ``after``.
        perplexity_before: Of ``before`` under the white box, read after training inputs.
        perplexity_after: Of ``after``.
        copied_words: Names, numbers and answer words of single training examples that
            ``after`` has taken over.
        changed_examples: The validation examples on which ``after`` did better or worse.
    """

    predictor: str
    before: str
    after: str
    score_before: float
    score_after: float
    gain: float
    interval: tuple[float, float]
    p_value: float
    looks: int
    steps: int
    stopped: str
    together: list[str] = field(default_factory=list)
    noise: float | None = None
    stood_in: int = 0
    tokens_before: int = 0
    tokens_after: int = 0
    perplexity_before: float | None = None
    perplexity_after: float | None = None
    copied_words: list[str] = field(default_factory=list)
    changed_examples: list[ChangedExample] = field(default_factory=list)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Outcome:
        """Return the outcome that went into a record's ``to_dict``."""
        parts = {
            "interval": tuple(saved["interval"]),
            "changed_examples": [
                ChangedExample(**each) for each in saved.get("changed_examples", ())
            ],
        }
        return cls(**{**saved, **parts})

    @property
    def changed(self) -> bool:
        """Whether a better instruction was verified."""
        return self.after != self.before
