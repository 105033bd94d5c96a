"""Run the quickstart on every task and several seeds, and print a table.

    python -m examples.quickstart_table
    python -m examples.quickstart_table --schedule paper

Finished runs of the same model and settings are kept in examples/results/ and not run again, so
seeds may also be run apart: --seeds 0 1 2.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dspy_greater import VerifiedConfig
from examples.benchmarks.common import RESULTS, Cases
from examples.published_schedule import PaperConfig
from examples.quickstart import SMALL_MODEL, improve, load, show
from examples.small_model.tasks import TASKS

# What auto="light" is.
SCHEDULES: dict[str, PaperConfig | VerifiedConfig] = {
    "verified": VerifiedConfig(),
    "paper": PaperConfig(max_steps=16),
}


def main() -> None:
    """Fill in the missing runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--schedule", choices=list(SCHEDULES), default="verified")
    parser.add_argument(
        "--results", type=Path, default=RESULTS / "quickstart.jsonl", help="file of finished runs"
    )
    arguments = parser.parse_args()
    lm = load(SMALL_MODEL)
    config = SCHEDULES[arguments.schedule]
    settings = {
        "model": lm.model,
        "schedule": arguments.schedule,
        "max_steps": config.max_steps,
    }
    cases = Cases(arguments.results, settings)
    for seed in arguments.seeds:
        for name, task in TASKS.items():
            if cases.lack(task=name, seed=seed):
                run = improve(task, seed, schedule=config)
                show(run)
                cases.add(**run)
    print(table(run for run in cases.read() if run["seed"] in arguments.seeds))


def table(runs: Iterable[dict[str, Any]]) -> str:
    """Return a Markdown table: accuracy before and after per task, over seeds."""
    rows = [
        "| task | before | after | gain (95 % interval) | worst seed | seconds | rollouts |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    runs = list(runs)
    for task in TASKS:
        if chosen := [run for run in runs if run["task"] == task]:
            rows.append(row(task, chosen))
    rows.append(row("**all**", runs))
    return "\n".join(rows)


def row(name: str, runs: list[dict[str, Any]]) -> str:
    """Return one line of the table, in percentage points."""
    gains = [100 * (run["score_after"] - run["score_before"]) for run in runs]
    cells = [
        name,
        f"{100 * mean(run['score_before'] for run in runs):.1f}",
        f"{100 * mean(run['score_after'] for run in runs):.1f}",
        f"{mean(gains):+.1f} ± {interval(gains):.1f}",
        f"{min(gains):+.1f}",
        f"{mean(run['seconds'] for run in runs):.0f}",
        f"{mean(run['rollouts'] for run in runs):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def interval(gains: list[float]) -> float:
    """Return the half-width of the mean's 95 % interval over runs (normal approximation)."""
    return 1.96 * stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else math.nan


if __name__ == "__main__":
    main()
