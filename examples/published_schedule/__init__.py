"""The published search (GReaTer, algorithm 1), as a schedule to compare with.

GreaterTeleprompter(metric=metric, schedule=PaperConfig(max_steps=40))
"""

from examples.published_schedule.config import PaperConfig
from examples.published_schedule.objective import (
    AnswerObjective,
    ExampleGradients,
    LossError,
    Trial,
)
from examples.published_schedule.proposal import propose
from examples.published_schedule.schedule import PaperSchedule, PaperState

__all__ = [
    "AnswerObjective",
    "ExampleGradients",
    "LossError",
    "PaperConfig",
    "PaperSchedule",
    "PaperState",
    "Trial",
    "propose",
]
