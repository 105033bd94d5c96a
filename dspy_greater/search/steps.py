"""What every schedule reports of its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, Protocol


@dataclass(frozen=True)
class Attempt:
    """One instruction that was run for real.

    Attributes:
        instruction: The text.
        kind: Where it comes from: ``"start"``, ``"replace"``, ``"insert"`` ...
        position: First token position that it changed; None for a whole instruction.
        scores: The metric on the training examples that it was run on.
        losses: The paper's loss on each of them, NaN where there is none; None where the
            schedule has no such loss.
        estimate: What the objective promised on cached rollouts; None where none was made.
    """

    instruction: str
    kind: str
    position: int | None
    scores: tuple[float, ...]
    losses: tuple[float, ...] | None = None
    estimate: float | None = None


class Step(Protocol):
    """What one step of a schedule did."""

    @property
    def number(self) -> int:
        """Counted from 1."""

    @property
    def attempts(self) -> Sequence[Attempt]:
        """What was run in it, most promising first."""

    @property
    def held(self) -> str:
        """The instruction held after it."""

    @property
    def accepted(self) -> bool:
        """Whether that changed in this step."""

    @property
    def status(self) -> str:
        """A few words for the progress line."""


class Schedule(Protocol):
    """Improves one predictor's instruction, step by step."""

    @property
    def stopped(self) -> str:
        """Why the steps ended; empty while they have not."""

    @property
    def skipped(self) -> int:
        """Losses and gradients left out so far because they were not finite."""

    @property
    def stood_in(self) -> int:
        """Steps that the gold answer's likelihood led because no rollout earned a reward."""

    @property
    def noise(self) -> float | None:
        """Mean absolute change of a score when a prompt is run once more; None if not measured."""

    def begin(self) -> Attempt:
        """Run the incumbent, at first the instruction at the start, on the training examples."""

    def steps(self) -> Iterator[Step]:
        """Yield steps until the search is over; the caller may stop at any of them."""

    def dump(self) -> dict[str, Any]:
        """Return, between two steps, all that it takes to go on; JSON-able."""

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on, in the next call of ``steps``, from what ``dump`` returned."""

    def forget(self) -> None:
        """Drop what was measured, right after ``load``: the rest of the program is another now.

        What is held stays, and is measured anew in the next call of ``begin`` or ``steps``.
        """


@dataclass
class Judge:
    """Keeps the validation scores of the instructions that a schedule came to hold.

    Args:
        run: Scores an instruction on the validation examples.
        perfect_score: Mean score at which there is nothing left to gain; None for never.

    Attributes:
        validated: Validation scores by instruction, in the order in which they were asked for.
    """

    run: Callable[[str], list[float]]
    perfect_score: float | None = None
    validated: dict[str, list[float]] = field(default_factory=dict)

    def score(self, instruction: str) -> float:
        """Return an instruction's mean score on the validation examples, run once."""
        if instruction not in self.validated:
            self.validated[instruction] = self.run(instruction)
        return mean(self.validated[instruction])

    def is_perfect(self, instruction: str, train_score: float) -> bool:
        """Whether neither training nor validation examples leave anything to gain."""
        if self.perfect_score is None or train_score < self.perfect_score:
            return False
        return self.score(instruction) >= self.perfect_score
