"""What a record holds of single instructions, steps and predictors, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dspy_greater.search import Attempt

#: Largest p-values of gains that are vouched for and likely.
VOUCHED, LIKELY = 0.05, 0.2
#: Why a search of a predictor did not begin.
UNCALLED = "no run on a training example called it"


@dataclass
class Candidate:
    """One instruction that was tried for one predictor, or one set of demos.

    Attributes:
        predictor: Name of the predictor, or ``"the set of demos"``, whose text is JSON: what each
            predictor shows, by place of the example among those that the search drew.
        instruction: The text, without what DSPy wrote behind an agent's.
        step: Step in which it was first tried; 0 for the instruction at the start.
        kind: Where it comes from: ``"start"``, ``"given"``, ``"library"``, ``"examples"``,
            ``"asked"`` or ``"written"`` (what the model goes on with);
            ``"together"``: the race of whole programs; ``"the set of demos"``: that of demos.
        position: First token position that it changed; None for a whole instruction.
        train_scores: The metric on the training examples that it was run on.
        estimate: What its schedule measured by, if by something else than the metric.
        validation_scores: The metric on each validation example, if it was validated.
        accepted: Whether it became the current one.
        others: Other predictors' instructions in the program that was run, if not the student's.
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

    @property
    def train_score(self) -> float:
        """Mean metric on the training examples; 0 where it was run on none."""
        return mean(self.train_scores or [0.0])

    @property
    def validation_score(self) -> float | None:
        """Mean metric on the validation examples, None where it was not validated."""
        return mean(self.validation_scores) if self.validation_scores else None


@dataclass(frozen=True)
class StepEvent:
    """What a callback is told after every step.

    Attributes:
        predictor: Name of the predictor.
        step: Number of the step, from 1 for each predictor; 0 for a race of demos or programs.
        instruction: Its current instruction.
        accepted: Whether that changed in this step.
        attempts: What was run in this step.
        validation_score: Mean metric of the current program on the validation examples.
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
    """A validation example on which the returned program scores otherwise than the student.

    ``inputs`` and ``labels`` are the beginnings of its values, by field.
    """

    index: int
    inputs: dict[str, str]
    labels: dict[str, str]
    score_before: float
    score_after: float

    @property
    def better(self) -> bool:
        """Whether the returned program did better."""
        return self.score_after > self.score_before


@dataclass
class Outcome:
    """What became of one predictor's instruction, or of the demos.

    Attributes:
        predictor: Name of the predictor, or ``"the set of demos"``.
        before: Its instruction in the student.
        after: Its instruction in the returned program.
        score_before: Mean metric on the validation examples without the changes.
        score_after: Mean metric of the returned program on them.
        gain: Mean paired difference of the two.
        interval: 95 % interval of ``gain``.
        p_value: One-sided p-value of ``gain``, corrected for ``looks``; 1 where nothing changed.
        looks: Programs that were validated besides the student.
        steps: Steps of the search.
        stopped: Why it ended.
        together: The predictors that changed, if several; the figures are of all their changes.
        put_back: Whether a change was found and taken back: the program does as well without.
        expected_gain: ``gain``, less what the choice among ``looks`` programs flatters it by.
        examples_needed: Validation examples that would show the gain, or that of the best program
            that was not returned, at p <= .05 four times in five; None where there was none.
        yields: Whole instructions by source: how many were made, different ones, and fit to run.
        tokens_before: Length of ``before`` in tokens of the white box.
        tokens_after: Length of ``after``.
        copied_words: What ``after`` has taken over from single training examples.
        changed_examples: The validation examples on which it did better or worse.
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
    put_back: bool = False
    expected_gain: float = 0.0
    examples_needed: int | None = None
    yields: dict[str, list[int]] = field(default_factory=dict)
    tokens_before: int = 0
    tokens_after: int = 0
    copied_words: list[str] = field(default_factory=list)
    changed_examples: list[ChangedExample] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether another instruction is returned."""
        return self.after != self.before

    @property
    def grade(self) -> Literal["vouched for", "likely", "possible", "kept"]:
        """How sure the gain is: at p <= .05, at p <= .2, less than that, or nothing was changed."""
        if not self.changed:
            return "kept"
        if self.p_value <= VOUCHED:
            return "vouched for"
        return "likely" if self.p_value <= LIKELY else "possible"
