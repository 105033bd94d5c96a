"""The verified search: whole instructions race, and what is returned is verified."""

from dspy_greater.search.verified.config import VerifiedConfig
from dspy_greater.search.verified.opening import JointRace
from dspy_greater.search.verified.schedule import SearchState, VerifiedSchedule

__all__ = ["JointRace", "SearchState", "VerifiedConfig", "VerifiedSchedule"]
