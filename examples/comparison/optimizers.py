"""The optimizers of the comparison, each sized to a budget.

Ours take the budget as it is. DSPy's know numbers of candidates and trials, not tokens, so each
gets the largest of its authors' settings whose runs of the program are expected to fit, at the
price of a run of the start; what it spent in truth is counted. Optimizers that choose by a
validation set get one; those that do not learn from all examples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import dspy

from dspy_greater import GreaterTeleprompter, StepEvent, VerifiedConfig
from dspy_greater.search import ScheduleConfig, settings
from dspy_greater.search.presets import UNBOUNDED
from examples.published_schedule import PaperConfig
from examples.tasks import BenchmarkTask, Splits

#: Requests at a time; the local model answers them in one batch.
THREADS = 128
STEP_BY_STEP = "Let's think step by step."


@dataclass(frozen=True)
class Setting:
    """What an optimizer is given.

    Args:
        task: The task.
        splits: Its examples.
        prompt_lm: Writes instructions for the optimizers that ask for some.
        budget: Tokens through the model.
        runs: Runs of the program that the budget is worth.
        spent: Says how many tokens the optimizer has used so far.
        seed: Of all random choices.
    """

    task: BenchmarkTask
    splits: Splits
    prompt_lm: dspy.LM
    budget: int
    runs: int
    spent: Callable[[], int]
    seed: int


Optimizer = Callable[[Setting], dspy.Module]


def ours(
    schedule: ScheduleConfig | Literal["verified"], demos: Literal["keep", "search"] = "keep"
) -> Optimizer:
    """Return our optimizer with a schedule."""

    def compile_(setting: Setting) -> dspy.Module:
        teleprompter = GreaterTeleprompter(
            metric=setting.task.metric,
            schedule=schedule,
            max_tokens=setting.budget,
            seed=setting.seed,
            # The default keeps to its bounds by itself.
            callback=None if schedule == "verified" else Within(setting.budget),
            demos=demos,
            progress=False,
        )
        train, validation, _ = setting.splits
        return teleprompter.compile(setting.task.program(), trainset=train, valset=validation)

    return compile_


@dataclass
class Within:
    """Ends a search before a step that would exceed the budget, if it costs what the last did."""

    budget: int
    spent: int = 0

    def __call__(self, event: StepEvent) -> bool:
        """Whether to stop."""
        last, self.spent = event.tokens - self.spent, event.tokens
        return self.spent + last > self.budget


def mipro(setting: Setting, demos: int = 0) -> dspy.Module:
    """MIPROv2 with up to so many demos of either kind; as many candidates as fit.

    By default it has four, which make prompts several times as long: a demo is counted as half a
    run. Trials follow from candidates by its own formula; the ten runs for each candidate are what
    it takes to find examples to show.
    """
    (train, validation, _), runs = setting.splits, int(setting.runs / (1 + demos / 2))

    def trials(candidates: int) -> int:
        return int(max(2 * math.log2(candidates), 1.5 * candidates))

    def cost(size: tuple[int, int]) -> float:
        examples, candidates = size
        full = examples * (trials(candidates) // 5 + 2)
        return full + min(35, examples) * trials(candidates) + 10 * candidates

    examples, candidates = largest(
        itertools.product((len(validation), 50, 25), (18, 12, 9, 6, 4, 3, 2)), cost, runs
    )
    return dspy.MIPROv2(
        metric=setting.task.metric,
        prompt_model=setting.prompt_lm,
        auto=None,
        num_candidates=candidates,
        max_bootstrapped_demos=demos,
        max_labeled_demos=demos,
        num_threads=THREADS,
        seed=setting.seed,
    ).compile(
        setting.task.program(),
        trainset=train,
        valset=validation[:examples],
        num_trials=trials(candidates),
        minibatch_size=min(35, examples),
    )


def copro(setting: Setting) -> dspy.Module:
    """COPRO with its default depth and as many instructions in each round as fit."""
    train, validation, _ = setting.splits
    everything = [*train, *validation]

    def cost(size: tuple[int, int, int]) -> float:
        return math.prod(size)

    examples, depth, breadth = largest(
        itertools.product((len(everything), 75, 40), (3, 2, 1), range(10, 1, -1)),
        cost,
        setting.runs,
    )
    return dspy.COPRO(
        prompt_model=setting.prompt_lm, metric=setting.task.metric, breadth=breadth, depth=depth
    ).compile(
        setting.task.program(),
        trainset=everything[:examples],
        eval_kwargs={"num_threads": THREADS, "display_progress": False},
    )


def gepa(setting: Setting) -> dspy.Module:
    """GEPA with as many metric calls as the budget is worth, or until it is spent."""
    train, validation, _ = setting.splits
    return dspy.GEPA(
        metric=setting.task.metric,
        max_metric_calls=setting.runs,
        reflection_lm=setting.prompt_lm,
        num_threads=THREADS,
        seed=setting.seed,
        # Its reflections cost tokens, too.
        gepa_kwargs={"stop_callbacks": lambda state: setting.spent() >= setting.budget},
    ).compile(setting.task.program(), trainset=train, valset=validation)


def simba(setting: Setting) -> dspy.Module:
    """SIMBA with its default demos and batches; as many candidates and steps as fit."""
    train, validation, _ = setting.splits
    everything, batch = [*train, *validation], 32

    def cost(size: tuple[int, int, int]) -> float:
        candidates, steps, examples = size
        return steps * batch * (2 * candidates + 1) + min(steps, candidates + 1) * examples

    candidates, steps, examples = largest(
        itertools.product((6, 4, 2), range(8, 0, -1), (len(everything), 75, batch)),
        cost,
        setting.runs,
    )
    return dspy.SIMBA(
        metric=setting.task.metric,
        bsize=batch,
        num_candidates=candidates,
        max_steps=steps,
        prompt_model=setting.prompt_lm,
        num_threads=THREADS,
    ).compile(setting.task.program(), trainset=everything[:examples], seed=setting.seed)


def largest(sizes: Iterable[Any], cost: Callable[[Any], float], runs: int) -> Any:
    """Return the first size whose runs fit, or the cheapest where none does."""
    given = list(sizes)
    return next((size for size in given if cost(size) <= runs), min(given, key=cost))


# What "verified" is where a budget ends the search.
_SEARCH = settings("verified", None, None, bounded=True)
assert isinstance(_SEARCH, VerifiedConfig)
OURS: dict[str, Optimizer] = {
    "greater": ours("verified"),
    "words": ours(replace(_SEARCH, examples=0)),
    "asked": ours(replace(_SEARCH, library=False, examples=0, asked=4, starts=0)),
    "demos": ours("verified", demos="search"),
    "paper": ours(PaperConfig(max_steps=UNBOUNDED)),
}
#: Optimizers that ask a prompt model for instructions.
ASKING: dict[str, Optimizer] = {
    "mipro": mipro,
    "mipro-demos": partial(mipro, demos=4),
    "copro": copro,
    "gepa": gepa,
    "simba": simba,
}
OPTIMIZERS = {**OURS, **ASKING}
#: Instructions that cost nothing; None is DSPy's own, at which all optimizers begin.
BASELINES: dict[str, Callable[[BenchmarkTask], str | None]] = {
    "none": lambda task: None,
    "step by step": lambda task: STEP_BY_STEP,
    "hand-written": lambda task: task.handwritten,
}
