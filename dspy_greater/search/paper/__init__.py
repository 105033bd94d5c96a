"""The published search."""

from dspy_greater.search.paper.config import PaperConfig
from dspy_greater.search.paper.objective import AnswerObjective, ExampleGradients, Trial
from dspy_greater.search.paper.proposal import propose
from dspy_greater.search.paper.schedule import PaperSchedule, PaperState

__all__ = [
    "AnswerObjective",
    "ExampleGradients",
    "PaperConfig",
    "PaperSchedule",
    "PaperState",
    "Trial",
    "propose",
]
