"""The search: schedules, what they try and what they accept."""

from dspy_greater.search.acceptance import Comparison, Verdict, choose, compare
from dspy_greater.search.configs import ScheduleConfig
from dspy_greater.search.presets import settings
from dspy_greater.search.programs import Program
from dspy_greater.search.scores import Runner, ScoreBoard, Scores
from dspy_greater.search.steps import Attempt, Schedule, ScheduleState, Step
from dspy_greater.search.verified import VerifiedConfig
from dspy_greater.search.view import PredictorView

__all__ = [
    "Attempt",
    "Comparison",
    "PredictorView",
    "Program",
    "Runner",
    "Schedule",
    "ScheduleConfig",
    "ScheduleState",
    "ScoreBoard",
    "Scores",
    "Step",
    "Verdict",
    "VerifiedConfig",
    "choose",
    "compare",
    "settings",
]
