"""The settings of a verified search, which make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.verified.opening import JointRace
from dspy_greater.search.verified.schedule import SearchState, VerifiedSchedule
from dspy_greater.search.verified.sizes import Sizes
from dspy_greater.search.view import PredictorView


@dataclass(frozen=True)
class VerifiedConfig(Sizes):
    """Settings of the verified search: the sizes of its stages."""

    state_type: ClassVar[type[SearchState]] = SearchState

    def schedule(
        self, view: PredictorView, board: ScoreBoard, seed: str, state: SearchState
    ) -> VerifiedSchedule:
        """Return one predictor's search."""
        return VerifiedSchedule(view, self, board, seed, state)

    def joint_race(
        self, views: Mapping[str, PredictorView], current: Program, board: ScoreBoard, seed: str
    ) -> JointRace | None:
        """Return the race of whole programs that comes first; None where none is written."""
        if not self.whole_instructions:
            return None
        return JointRace(current, board, seed, views, self)
