"""Whether plans come true: compiles that were measured, planned from others that were."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dspy_greater.model.white_box import CPU_TOKENS
from examples.benchmarks.projection import Model, Projection, Rates
from examples.benchmarks.speed import Machine
from examples.benchmarks.traced import MAX_TOKENS
from examples.benchmarks.workload import Compile, Habits, Sizes, tokens

#: What the seconds of a kept compile may differ from its plan's, as a factor.
FACTOR = 2.0


def foretold(kept: Mapping[str, Any], speed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return tokens and seconds of each kept compile, planned and measured.

    Each is planned from the others alone; the one of the speed benchmark from all, for the rates
    that its own machine had.

    Args:
        kept: What `plan --measure` wrote.
        speed: What `speed` wrote of the small model: a compile of the first kept task and seed.
    """
    here = Machine(**kept["machine"])
    cases = []
    for number, run in enumerate(kept["runs"]):
        others = [each for place, each in enumerate(kept["runs"]) if place != number]
        name = f"{run['task']}, N = {run['train']}"
        cases.append(_foretold(name, run, {**kept, "runs": others}, here))
    same = {**kept["runs"][0], **speed["compile"]}
    there = Machine(**speed["machine"])
    name = f"{same['task']}, N = {same['train']}, `speed`"
    cases.append(_foretold(name, same, kept, there))
    return cases


def _foretold(
    name: str, run: Mapping[str, Any], kept: Mapping[str, Any], there: Machine
) -> dict[str, Any]:
    """Plan one compile from kept ones, for a machine that need not be theirs."""
    model, habits = Model.measured(kept["model"]), Habits.of(kept["runs"])
    rates = Rates.of(kept["runs"], kept["rendering"], model, Machine(**kept["machine"]))
    sizes = Sizes(
        train=run["train"],
        validation=run["validation"],
        prompt=run["prompt"],
        completion=run["completion"],
        longest=habits.longest * run["completion"],
        instruction=run["instruction"],
        steps=run["steps"],
        tidied=run["tidied"],
    )
    calls = Compile(sizes, habits, model.hidden).calls()
    settings = (run["prompt"], MAX_TOKENS, math.inf, CPU_TOKENS)
    planned = Projection(calls, model, there, rates, *settings).seconds()
    counted = sum(n for key, n in run["counts"].items() if key.startswith("tokens"))
    return {
        "name": name,
        "tokens": (sum(tokens(calls).values()), counted),
        "seconds": (sum(planned.values()), run["seconds"]),
    }
