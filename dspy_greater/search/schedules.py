"""From settings to the schedule that follows them."""

from __future__ import annotations

import random

from dspy_greater.search.paper import PaperConfig, PaperSchedule
from dspy_greater.search.protocols import Subject
from dspy_greater.search.steps import Judge, Schedule
from dspy_greater.search.verified import VerifiedConfig, VerifiedSchedule


def schedule_for(
    config: PaperConfig | VerifiedConfig,
    subject: Subject,
    judge: Judge,
    *,
    start: str,
    train_examples: int,
    seed: str,
) -> Schedule:
    """Return the schedule for one predictor.

    Args:
        config: Decides which schedule it is.
        subject: The predictor on the training examples.
        judge: Runs instructions on the validation examples.
        start: The instruction to begin with.
        train_examples: Their number.
        seed: Seed of every random choice.
    """
    if isinstance(config, PaperConfig):
        return PaperSchedule(subject, config, random.Random(seed), judge, start)
    return VerifiedSchedule(subject, config, seed, judge, start, train_examples)
