"""Seconds of the published schedule's steps, by our engine and in the published way."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from dspy_greater.model import WhiteBox
from dspy_greater.search import ScheduleConfig, Step
from examples.benchmarks.common import Place
from examples.benchmarks.machine import Costs, Machine
from examples.benchmarks.published import AsPublished, published_step
from examples.published_schedule import AnswerObjective, PaperConfig

#: Of all random choices.
SEED = 0


def against_published(
    model: Any,
    tokenizer: Any,
    machine: Machine,
    options: argparse.Namespace,
    place: Callable[[WhiteBox], Place],
) -> dict[str, Any]:
    """Time the published schedule's steps, ours and as published, on the same candidates.

    Beside the seconds of our steps stand those that their work would take at the machine's rates.

    Args:
        model: Both run it; the published way, a copy.
        tokenizer: Its own.
        machine: The rates.
        options: Of the command line: training examples, steps, and how many of them as published.
        place: Says where a white box is to search.
    """
    floors = partial(Costs.of(model).floors, machine=machine)
    config = PaperConfig(max_steps=options.steps)
    steps, paper = stepped(place(WhiteBox(model, tokenizer)), config, floors)
    published = place(AsPublished(model, tokenizer))
    objective = AnswerObjective(config.temperature, config.fluency_weight)
    (predictor,) = published.start
    current, tried, began = published.start[predictor], 0, time.perf_counter()
    apart = []
    for step in steps[: options.published_steps]:
        texts = [attempt.instruction for attempt in step.attempts]
        trials = published_step(published, objective, current, texts)
        mine = [attempt.estimate or 0.0 for attempt in step.attempts]
        apart += [abs(a.loss - b) for a, b in zip(trials, mine, strict=True)]
        tried, current = tried + len(trials), step.current[predictor]
    published_seconds = (time.perf_counter() - began) / tried
    edits = sum(len(step.attempts) for step in steps)
    return {
        "examples": options.examples,
        "published_seconds": published_seconds,
        "published_edits": tried,
        "published_edits_a_step": tried / min(options.published_steps, len(steps)),
        "paper_edits": edits,
        "paper_seconds": paper.seconds / max(edits, 1),
        "paper_floor": paper.floor / max(edits, 1),
        "largest_difference": max(apart),
    }


@dataclass(frozen=True)
class Spent:
    """What some work took.

    Attributes:
        seconds: As measured.
        floor: Least seconds of what the model did, at the machine's rates.
    """

    seconds: float
    floor: float


def stepped(
    place: Place,
    config: ScheduleConfig,
    floors: Callable[[Mapping[str, float]], dict[str, float]],
) -> tuple[list[Step], Spent]:
    """Take a schedule's steps; return them and what they took, the start's run included.

    Validation is left out on both sides: the published code has none.
    """
    view, board, current = place
    state = config.state_type(current[view.name])
    schedule = config.schedule(view, board, str(SEED), state)
    before, began = view.model.counts.snapshot(), time.perf_counter()
    schedule.begin(current)
    steps = []
    while (step := schedule.step(current)) is not None:
        steps.append(step)
        current = step.current
    spent = time.perf_counter() - began
    least = sum(floors(asdict(view.model.counts - before)).values())
    return steps, Spent(spent, least)
