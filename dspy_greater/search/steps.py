"""What every schedule reports of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dspy_greater.search.programs import Program
from dspy_greater.search.protocols import View
from dspy_greater.search.scores import ScoreBoard


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


@dataclass(frozen=True)
class Step:
    """What one step of a schedule did.

    Attributes:
        number: Counted from 1.
        attempts: What was run in it, most promising first.
        current: The program after it.
        accepted: Whether that changed in this step.
        status: A few words for the progress line.
    """

    number: int
    attempts: Sequence[Attempt]
    current: Program
    accepted: bool
    status: str


class Schedule(Protocol):
    """Improves one predictor's instruction, step by step.

    Attributes:
        state: All that it remembers from one step to the next: a dataclass of plain data.
    """

    state: Any

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

    def begin(self, current: Program) -> Attempt:
        """Run the current program on the training examples.

        Called first of all, and again when another predictor has changed: what was measured
        within the program before says nothing of this one.
        """

    def step(self, current: Program) -> Step | None:
        """Take a step from the current program on; None where the search is over."""


class Race(Protocol):
    """Whole programs against the one at the start."""

    @property
    def most(self) -> int:
        """Programs that race besides the one at the start, at most."""

    @property
    def order(self) -> Sequence[int]:
        """Indices of the training examples, in the order in which the race uses them."""

    def begin(self) -> None:
        """Run the program at the start on the training examples."""

    def hopeful(self) -> bool:
        """Whether any program could win."""

    def programs(self, count: int) -> list[Program]:
        """Return up to ``count`` programs."""

    def winner(self, programs: Sequence[Program]) -> Program | None:
        """Let programs race and return the one to go on from, None for the one at the start."""


class ScheduleConfig(Protocol):
    """The settings of a schedule, which make it: another schedule is another class like this.

    Attributes:
        max_steps: Steps for each predictor.
        needs_labels: Whether a predictor without a label is left out.
        sampling_temperature: Of sampled runs; None where none are made.
        state_type: The state of its schedules: made from the instruction at the start, or from
            its own fields as they were saved.
    """

    @property
    def max_steps(self) -> int: ...  # noqa: D102

    @property
    def needs_labels(self) -> bool: ...  # noqa: D102

    @property
    def sampling_temperature(self) -> float | None: ...  # noqa: D102

    @property
    def state_type(self) -> Any: ...  # noqa: D102

    def schedule(self, view: View, board: ScoreBoard, seed: str, state: Any) -> Schedule:
        """Return one predictor's search."""

    def joint_race(
        self, views: Mapping[str, View], current: Program, board: ScoreBoard, seed: str
    ) -> Race | None:
        """Return the race of whole programs that comes first, if there is one."""

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples."""

    def most_sampled(self, train: int) -> int:
        """Return how many of them are sampled by the white box, at most."""
