"""What the settings of a schedule have to be: another schedule is another class like these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.steps import Schedule
from dspy_greater.search.verified import JointRace
from dspy_greater.search.view import PredictorView


class ScheduleConfig(Protocol):
    """The settings of a schedule, which make it.

    Attributes:
        max_steps: Steps for each predictor.
        needs_labels: Whether a predictor without a label is left out.
        state_type: The state of its schedules: made from the start's instruction or saved fields.
    """

    @property
    def max_steps(self) -> int: ...  # noqa: D102

    @property
    def needs_labels(self) -> bool: ...  # noqa: D102

    @property
    def state_type(self) -> Any: ...  # noqa: D102

    def schedule(self, view: PredictorView, board: ScoreBoard, seed: str, state: Any) -> Schedule:
        """Return one predictor's search."""

    def joint_race(
        self, views: Mapping[str, PredictorView], current: Program, board: ScoreBoard, seed: str
    ) -> JointRace | None:
        """Return the race of whole programs that comes first, if there is one."""

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples."""
