"""The search: proposals, objective, schedule and acceptance, behind small protocols."""

from dspy_greater.search.acceptance import Comparison, Verdict, choose, compare
from dspy_greater.search.objective import AnswerObjective, LossError, Slope, Trial
from dspy_greater.search.paper import PaperConfig, PaperSchedule, Step
from dspy_greater.search.proposal import propose
from dspy_greater.search.protocols import Model, Subject
from dspy_greater.search.subject import PredictorSubject

__all__ = [
    "AnswerObjective",
    "Comparison",
    "LossError",
    "Model",
    "PaperConfig",
    "PaperSchedule",
    "PredictorSubject",
    "Slope",
    "Step",
    "Subject",
    "Trial",
    "Verdict",
    "choose",
    "compare",
    "propose",
]
