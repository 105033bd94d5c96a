"""Run the quickstart on every task and several seeds, and print the README's table.

    python -m examples.quickstart_table
    python -m examples.quickstart_table --schedule paper
    python -m examples.quickstart_table --schedule paper --shortlist random

Finished runs of the same model and settings are kept in examples/results/ and not run again, so
seeds may also be run apart: --seeds 0 1 2.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from dspy_greater import PaperConfig, VerifiedConfig
from examples.quickstart import ROOT, SMALL_MODEL, improve, load, show
from examples.small_model.tasks import TASKS

# What auto="light" is.
SCHEDULES: dict[str, PaperConfig | VerifiedConfig] = {
    "verified": VerifiedConfig(),
    "paper": PaperConfig(max_steps=16),
}
RESULTS = ROOT / "examples" / "results" / "quickstart.jsonl"


def main() -> None:
    """Fill in the missing runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--schedule", choices=list(SCHEDULES), default="verified")
    parser.add_argument("--shortlist", help="the schedule's own by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of finished runs")
    arguments = parser.parse_args()
    lm = load(SMALL_MODEL)
    config: Any = SCHEDULES[arguments.schedule]
    if arguments.shortlist:
        config = replace(config, shortlist=arguments.shortlist)
    settings = {
        "model": lm.model,
        "schedule": arguments.schedule,
        "max_steps": config.max_steps,
        "shortlist": config.shortlist,
    }
    for seed in arguments.seeds:
        for name, task in TASKS.items():
            if not finished(arguments.results, settings, name, seed):
                run = improve(task, seed, schedule=config)
                show(run)
                append(arguments.results, {**settings, **run})
    runs = [run for run in read(arguments.results) if settings.items() <= run.items()]
    print(table(run for run in runs if run["seed"] in arguments.seeds))


def finished(path: Path, settings: dict[str, Any], task: str, seed: int) -> bool:
    """Whether this run has been made before, with the same model and settings."""
    wanted = {**settings, "task": task, "seed": seed}.items()
    return any(wanted <= run.items() for run in read(path))


def read(path: Path) -> list[dict[str, Any]]:
    """Return the finished runs, one JSON object a line."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def append(path: Path, run: dict[str, Any]) -> None:
    """Keep a finished run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")


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
