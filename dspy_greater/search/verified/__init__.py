"""The verified search: every accepted edit is one to bet on."""

from dspy_greater.search.verified.config import VerifiedConfig
from dspy_greater.search.verified.joint_race import JointRace
from dspy_greater.search.verified.schedule import SearchState, VerifiedSchedule

__all__ = ["JointRace", "SearchState", "VerifiedConfig", "VerifiedSchedule"]
