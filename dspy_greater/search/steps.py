"""What every schedule reports of its steps, and what ends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dspy_greater.search.programs import Program


@dataclass(frozen=True)
class Attempt:
    """One instruction that was run for real.

    Attributes:
        instruction: The text.
        kind: Where it comes from: ``"start"``, ``"library"``, ``"asked"`` ...
        position: First token position that it changed; None for a whole instruction.
        scores: The metric on the training examples that it was run on.
        estimate: What the schedule measured by, if by something else than the metric.
    """

    instruction: str
    kind: str
    position: int | None
    scores: tuple[float, ...]
    estimate: float | None = None


@dataclass(frozen=True)
class Step:
    """What one step of a schedule did.

    Attributes:
        number: Counted from 1.
        attempts: What was run in it.
        current: The program after it.
        accepted: Whether that changed in this step.
        status: A few words for the progress line.
    """

    number: int
    attempts: Sequence[Attempt]
    current: Program
    accepted: bool
    status: str


@dataclass
class ScheduleState:
    """What every schedule remembers from one step to the next; plain data, as are additions to it.

    Attributes:
        start: The instruction that the search began with.
        step: Steps taken.
        stopped: Why the steps ended; empty while they have not.
        yields: Whole instructions by source: how many were made, different ones, and fit to run.
    """

    start: str
    step: int = 0
    stopped: str = ""
    yields: dict[str, list[int]] = field(default_factory=dict)


class Schedule(Protocol):
    """Improves one predictor's instruction, step by step."""

    def begin(self, current: Program) -> Attempt:
        """Run the current program on the training examples; called first of all."""

    def step(self, current: Program) -> Step | None:
        """Take a step from the current program on; None where the search is over."""
