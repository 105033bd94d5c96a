"""The verified search: every accepted edit is one to bet on."""

from dspy_greater.search.verified.config import VerifiedConfig
from dspy_greater.search.verified.schedule import SearchState, VerifiedSchedule, VerifiedStep
from dspy_greater.search.verified.together import WholeRace

__all__ = [
    "SearchState",
    "VerifiedConfig",
    "VerifiedSchedule",
    "VerifiedStep",
    "WholeRace",
]
