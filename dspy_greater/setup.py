"""What a compile works with, and what it may cost, as is said before the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dspy

from dspy_greater.basics.console import say
from dspy_greater.cost import Bounds, Budget
from dspy_greater.model import WhiteBox
from dspy_greater.record import Checkpoint, StepEvent, usage_text
from dspy_greater.running import ProgramRunner
from dspy_greater.search import ScheduleConfig


@dataclass(frozen=True)
class Setup:
    """What a compile works with and by which settings (see the optimizer); nothing in it changes.

    ``labels`` are those of each training example by predictor, where they are not in the examples.
    """

    labels: Mapping[str, Sequence[dspy.Example]]
    runner: ProgramRunner
    model: WhiteBox
    adapter: dspy.Adapter
    config: ScheduleConfig
    bounds: Bounds
    seed: int
    confidence: float
    perfect_score: float | None
    scripts: frozenset[str]
    callback: Callable[[StepEvent], bool | None] | None
    checkpoint: Checkpoint | None
    progress: bool


def announce(setup: Setup, budget: Budget, name: str, verdict: int) -> None:
    """Say what a predictor's search may cost, and the ``verdict``, from what runs so far took."""
    if not setup.progress:
        return
    runner, meter, model = setup.runner, budget.meter, setup.model
    train, validation = len(runner.train), len(runner.validation)
    runs = setup.config.most_runs(train, validation) + verdict
    steps, where, cost = setup.config.max_steps, "", ""
    within = " in one step" if steps == 1 else f" in {steps:,} steps"
    if setup.bounds:
        more = budget.affordable()
        bound = meter.total().metric_calls + more + verdict
        runs = min(runs, int(bound)) if more >= train else train + validation
        within = f", {budget.share()[0]}"
    if runner.target is not None:
        where, cost = f" on {runner.target}", f" and {usage_text(meter.target)}"
    count, seconds = meter.runs.metric_calls, meter.runs.seconds
    dtype = str(model.dtype).removeprefix("torch.")
    say(
        f"{name}: at most {runs:,} runs of the program{where}{within}; the first "
        f"{count} took {seconds:.1f} s, {seconds / count:.2f} s each{cost} "
        f"({model.name} in {dtype} on {model.device})",
        setup.progress,
    )
