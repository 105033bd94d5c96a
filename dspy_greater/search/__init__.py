"""The search: schedules, what they estimate and what they accept, behind small protocols."""

from dspy_greater.search.acceptance import Comparison, Verdict, choose, compare
from dspy_greater.search.accounts import Accounts
from dspy_greater.search.budget import Budget
from dspy_greater.search.errors import LossError
from dspy_greater.search.influence import gradient_norms
from dspy_greater.search.paper import PaperConfig, PaperSchedule
from dspy_greater.search.presets import settings
from dspy_greater.search.protocols import Model, Subject
from dspy_greater.search.readability import log_likelihood
from dspy_greater.search.schedules import schedule_for
from dspy_greater.search.steps import Attempt, Judge, Schedule, Step
from dspy_greater.search.subject import PredictorSubject
from dspy_greater.search.verified import VerifiedConfig, VerifiedSchedule, WholeRace
from dspy_greater.search.whole import instructions_of, key

__all__ = [
    "Accounts",
    "Attempt",
    "Budget",
    "Comparison",
    "Judge",
    "LossError",
    "Model",
    "PaperConfig",
    "PaperSchedule",
    "PredictorSubject",
    "Schedule",
    "Step",
    "Subject",
    "Verdict",
    "VerifiedConfig",
    "VerifiedSchedule",
    "WholeRace",
    "choose",
    "compare",
    "gradient_norms",
    "instructions_of",
    "key",
    "log_likelihood",
    "schedule_for",
    "settings",
]
