"""Settings of the published schedule, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dspy_greater.search import PredictorView, Program, ScoreBoard
from examples.published_schedule.gradients import check_gradients
from examples.published_schedule.schedule import PaperSchedule, PaperState
from examples.published_schedule.sizes import PaperSizes


@dataclass(frozen=True)
class PaperConfig(PaperSizes):
    """Settings of the published schedule, for ``GreaterTeleprompter(schedule=PaperConfig())``."""

    #: Gold answers lead every step.
    needs_labels: ClassVar[bool] = True
    state_type: ClassVar[type[PaperState]] = PaperState

    def schedule(
        self, view: PredictorView, board: ScoreBoard, seed: str, state: PaperState
    ) -> PaperSchedule:
        """Return one predictor's search.

        Raises:
            ModelError: No true gradient goes through the model's quantized layers.
        """
        with view.model.alone():
            check_gradients(view.model.model)
        return PaperSchedule(view, self, board, seed, state)

    def joint_race(
        self, views: Mapping[str, PredictorView], current: Program, board: ScoreBoard, seed: str
    ) -> None:
        """Return None: no whole programs race."""

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples."""
        return train * (1 + self.max_steps * self.shortlist_size) + validation * (
            1 + self.max_steps
        )
