"""How much of the way from DSPy's default instruction to a good hand-written one is made."""

from __future__ import annotations

import argparse
import math
from statistics import mean
from typing import Any

from dspy_greater import GreaterTeleprompter
from dspy_greater.search import compare
from examples.benchmarks.common import (
    RESULTS,
    Cases,
    accuracies,
    bootstrap,
    default_instruction,
    markdown,
    program_with,
)
from examples.quickstart import SMALL_MODEL, load
from examples.small_model.tasks import TASKS, examples

TRAIN, VALIDATION, HELD_OUT = 50, 50, 500


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--auto", choices=["light", "medium", "heavy"], default="light")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))


def run(options: argparse.Namespace) -> str:
    """Fill in the missing runs and return the table."""
    lm = load(SMALL_MODEL)
    cases = Cases(RESULTS / "gap.jsonl", {"model": lm.model, "auto": options.auto})
    for seed in options.seeds:
        for task in options.tasks:
            if cases.lack(task=task, seed=seed):
                cases.add(task=task, seed=seed, **one(task, seed, options.auto, lm))
    return table(cases.read())


def one(name: str, seed: int, auto: Any, lm: Any) -> dict[str, Any]:
    """Compile one task from DSPy's default instruction and score it on held-out questions."""
    task = TASKS[name]
    teleprompter = GreaterTeleprompter(metric=task.metric, auto=auto, seed=seed)
    compiled = teleprompter.compile(
        program_with(task),
        trainset=examples(name, "train", TRAIN, seed),
        valset=examples(name, "validation", VALIDATION, seed),
    )
    record = compiled.detailed_results
    (outcome,) = record.outcomes
    texts = [default_instruction(task), outcome.after, task.good_instruction]
    before, after, good = accuracies(task, texts, examples(name, "test", HELD_OUT, seed), lm)
    comparison = compare(after, before)
    return {
        "instruction": outcome.after,
        "before": mean(before),
        "after": mean(after),
        "good": mean(good),
        "standard_error": comparison.standard_error,
        "perplexity": outcome.perplexity_after,
        "length": outcome.tokens_after,
        "copied": outcome.copied_words,
        "stopped": outcome.stopped,
        "steps": outcome.steps,
        "looks": outcome.looks,
        "metric_calls": record.total_calls,
        "tokens": sum(n for key, n in record.counts.items() if key.startswith("tokens")),
        "seconds": round(record.seconds, 1),
    }


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
    perplexity = math.exp(mean(math.log(c["perplexity"]) for c in cases))
    return [
        name,
        *columns,
        f"{100 * share:.0f} % ({100 * low:.0f}-{100 * high:.0f})",
        f"{100 * min(c['after'] - c['before'] for c in cases):+.1f}",
        f"{perplexity:.1f}",
        f"{mean(c['seconds'] for c in cases):.0f}",
        f"{mean(c['tokens'] for c in cases):,.0f}",
    ]
