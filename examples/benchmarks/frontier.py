"""What readable instructions cost: accuracy against perplexity, by the weight of fluency."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from dspy_greater import VerifiedConfig
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

WEIGHTS = (0.0, 0.005, 0.02, 0.1, 0.5)
#: Edits that race in each step.
RACE_SIZE = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    choose_cases(parser)
    parser.add_argument("--weights", type=float, nargs="+", default=list(WEIGHTS))
    parser.add_argument(
        "--edits-only",
        action="store_true",
        help="without whole instructions, which the model writes fluently in any case",
    )
    parser.add_argument("--plot", type=Path, help="draw accuracy against perplexity")


def run(options: argparse.Namespace) -> str:
    """Fill in the missing runs and return the table."""
    lm = load(SMALL_MODEL)
    schedule = VerifiedConfig(race_size=RACE_SIZE)  # the weight tells in edits alone
    if options.edits_only:
        schedule = replace(schedule, library=False, asked=0, starts=0)
    shared = {"model": lm.model, "edits_only": options.edits_only}
    cases = Cases(RESULTS / "frontier.jsonl", shared)
    for seed in options.seeds:
        for task in options.tasks:
            for weight in options.weights:
                if cases.lack(task=task, seed=seed, weight=weight):
                    weighted = replace(schedule, fluency_weight=weight)
                    case = compiled_case(task, seed, lm, schedule=weighted)
                    cases.add(task=task, seed=seed, weight=weight, **case)
    done = [case for case in cases.read() if case["weight"] in options.weights]
    if options.plot:
        plot(done, options.plot)
    return table(done)


def by_weight(cases: list[dict[str, Any]]) -> dict[float, list[dict[str, Any]]]:
    """Return the cases of each weight; only task and seed pairs that all weights have."""
    groups: dict[float, list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault(case["weight"], []).append(case)
    common = set.intersection(*({(c["task"], c["seed"]) for c in g} for g in groups.values()))
    return {
        weight: [c for c in groups[weight] if (c["task"], c["seed"]) in common]
        for weight in sorted(groups)
    }


def table(cases: list[dict[str, Any]]) -> str:
    """Return accuracy and perplexity by weight, and what the weight costs against none."""
    groups = by_weight(cases)
    free = {(c["task"], c["seed"]): c["after"] for c in groups[min(groups)]}
    rows = []
    for weight, group in groups.items():
        loss = [c["after"] - free[c["task"], c["seed"]] for c in group]
        difference, low, high = (100 * value for value in bootstrap(loss))
        perplexity = geometric_mean([c["perplexity"] for c in group])
        by_hand = geometric_mean([c["good_perplexity"] for c in group])
        rows.append(
            [
                f"{weight:g}",
                str(len(group)),
                f"{100 * mean(c['after'] for c in group):.1f}",
                f"{difference:+.1f} ({low:+.1f} to {high:+.1f})",
                f"{perplexity:.1f}",
                f"{perplexity / by_hand:.2f}",
                f"{mean(c['length'] for c in group):.0f}",
            ]
        )
    header = [
        "weight", "runs", "accuracy", f"against weight {min(groups):g} (95 %)", "perplexity",
        "times the hand-written", "tokens",
    ]  # fmt: skip
    return markdown(header, rows)


def plot(cases: list[dict[str, Any]], path: Path) -> None:
    """Draw mean accuracy against mean perplexity, a point for each weight."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    groups = by_weight(cases)
    figure, axes = plt.subplots(figsize=(6, 4.5), constrained_layout=True)
    points = [
        (geometric_mean([c["perplexity"] for c in g]), 100 * mean(c["after"] for c in g))
        for g in groups.values()
    ]
    axes.plot(*zip(*points, strict=True), "o-", label="compiled, by weight of fluency")
    for weight, point in zip(groups, points, strict=True):
        axes.annotate(f"{weight:g}", point, textcoords="offset points", xytext=(6, 6))
    everything = [c for group in groups.values() for c in group]
    axes.plot(
        geometric_mean([c["good_perplexity"] for c in everything]),
        100 * mean(c["good"] for c in everything),
        "*",
        markersize=14,
        label="hand-written",
    )
    axes.set_xscale("log")
    axes.set_xlabel("perplexity of the instruction")
    axes.set_ylabel("held-out accuracy, %")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
