"""The search: schedules, what they estimate and what they accept, behind small protocols."""

from dspy_greater.search.acceptance import Comparison, Verdict, choose, compare
from dspy_greater.search.configs import ScheduleConfig
from dspy_greater.search.errors import LossError
from dspy_greater.search.presets import settings
from dspy_greater.search.programs import Program
from dspy_greater.search.protocols import Model, Runner, View
from dspy_greater.search.readability import log_likelihood
from dspy_greater.search.scores import ScoreBoard, Scores
from dspy_greater.search.steps import Attempt, Schedule, ScheduleState, Step
from dspy_greater.search.verified import JointRace, VerifiedConfig, VerifiedSchedule
from dspy_greater.search.view import PredictorView

__all__ = [
    "Attempt",
    "Comparison",
    "JointRace",
    "LossError",
    "Model",
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
    "VerifiedSchedule",
    "View",
    "choose",
    "compare",
    "log_likelihood",
    "settings",
]
