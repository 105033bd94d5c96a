"""A short compile of the project's small model, to be compared between ways of running it."""

from __future__ import annotations

from typing import Any

import dspy

from dspy_greater import GreaterTeleprompter, VerifiedConfig
from examples.small_model.tasks import TASKS, examples

SHORT = VerifiedConfig(
    max_steps=1,
    rollouts=2,
    rollout_examples=4,
    exact_size=8,
    race_size=2,
    starts=0,
    phrases=2,
    tidy_rounds=0,
)


def result_of(lm: dspy.LM, seed: int, **knobs: Any) -> dict[str, Any]:
    """What a compile of one step ends with: instructions and scores, nothing about time."""
    task = TASKS["letters"]
    program = task.program()
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(task.weak_instruction)
    settings = {"schedule": SHORT, "progress": False, **knobs}
    with dspy.context(lm=lm):
        compiled = GreaterTeleprompter(metric=task.metric, seed=seed, **settings).compile(
            program,
            trainset=examples("letters", "train", 12, seed),
            valset=examples("letters", "validation", 16, seed),
        )
    record = compiled.detailed_results
    return {
        "instruction": compiled.predictors()[0].signature.instructions,
        "candidates": [
            [each.instruction, each.accepted, each.train_score, each.validation_score]
            for each in record.candidates
        ],
        "scores": [
            score
            for each in record.outcomes
            for score in (each.score_before, each.score_after, each.perplexity_after)
        ],
    }
