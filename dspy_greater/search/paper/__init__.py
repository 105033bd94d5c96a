"""The published search: one token at a time, ranked by the gradient of the answer's loss."""

from dspy_greater.search.paper.objective import AnswerObjective, ExampleGradients, Trial
from dspy_greater.search.paper.proposal import propose
from dspy_greater.search.paper.schedule import PaperConfig, PaperSchedule, PaperStep

__all__ = [
    "AnswerObjective",
    "ExampleGradients",
    "PaperConfig",
    "PaperSchedule",
    "PaperStep",
    "Trial",
    "propose",
]
