"""How much of the way from DSPy's default instruction to a good hand-written one is made."""

from __future__ import annotations

import argparse
from statistics import mean
from typing import Any

from examples.benchmarks.common import (
    RESULTS,
    Cases,
    bootstrap,
    choose_cases,
    compiled_case,
    geometric_mean,
    markdown,
)
from examples.quickstart import SMALL_MODEL, load
from examples.small_model.tasks import TASKS


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    choose_cases(parser)
    parser.add_argument("--auto", choices=["light", "medium", "heavy"], default="light")


def run(options: argparse.Namespace) -> str:
    """Fill in the missing runs and return the table."""
    lm = load(SMALL_MODEL)
    cases = Cases(RESULTS / "gap.jsonl", {"model": lm.model, "auto": options.auto})
    for seed in options.seeds:
        for task in options.tasks:
            if cases.lack(task=task, seed=seed):
                case = compiled_case(task, seed, lm, auto=options.auto)
                cases.add(task=task, seed=seed, **case)
    return table(cases.read())


def table(cases: list[dict[str, Any]]) -> str:
    """Return the table: accuracy in per cent, share of the gap closed, cost."""
    rows = [_row(task, [c for c in cases if c["task"] == task]) for task in TASKS]
    header = [
        "task", "default", "compiled", "hand-written", "gap closed (95 %)", "worst run",
        "perplexity", "seconds", "tokens",
    ]  # fmt: skip
    return markdown(header, [row for row in [*rows, _row("**all**", cases)] if row])


def _row(name: str, cases: list[dict[str, Any]]) -> list[str]:
    if not cases:
        return []
    closed = [(c["after"] - c["before"]) / (c["good"] - c["before"]) for c in cases]
    share, low, high = bootstrap(closed)
    columns = [f"{100 * mean(c[key] for c in cases):.1f}" for key in ("before", "after", "good")]
    return [
        name,
        *columns,
        f"{100 * share:.0f} % ({100 * low:.0f}-{100 * high:.0f})",
        f"{100 * min(c['after'] - c['before'] for c in cases):+.1f}",
        f"{geometric_mean([c['perplexity'] for c in cases]):.1f}",
        f"{mean(c['seconds'] for c in cases):.0f}",
        f"{mean(c['tokens'] for c in cases):,.0f}",
    ]
