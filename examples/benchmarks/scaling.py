"""How the time of an edit grows with examples, instruction, reasoning and candidates."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import dspy
import numpy as np

from dspy_greater import local_lm
from dspy_greater.model import WhiteBox
from dspy_greater.search import PredictorView
from examples.published_schedule import AnswerObjective
from examples.benchmarks.common import RESULTS, markdown, subject_of
from examples.benchmarks.models import AnyText, load_model, quiet
from examples.benchmarks.speed import SEED, TASK, seconds

REPEATS = 3


@dataclass(frozen=True)
class Sizes:
    """What an edit is tried on; each panel changes one of these.

    Attributes:
        examples: Training examples.
        instruction: Words of the instruction, each a token.
        reasoning: Tokens that the model writes.
        candidates: Edits tried in one step.
    """

    examples: int = 16
    instruction: int = 16
    reasoning: int = 32
    candidates: int = 3


PANELS = {
    "examples": (8, 16, 32, 64),
    "instruction": (8, 16, 32, 64),
    "reasoning": (16, 32, 64, 128),
    "candidates": (1, 2, 4, 8),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--plot", type=Path, help="draw the four curves")


def run(options: argparse.Namespace) -> str:
    """Measure, keep the figures and return the table."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    quiet()
    model, tokenizer = load_model("small-untrained")
    box = WhiteBox(model, tokenizer)
    measured: dict[str, list[list[float]]] = {}
    with dspy.context(adapter=AnyText()):
        step(box, Sizes(examples=4))  # what is allocated once
        for name, sizes in PANELS.items():
            measured[name] = [[size, step(box, replace(Sizes(), **{name: size}))] for size in sizes]
    (RESULTS / "scaling.json").write_text(json.dumps(measured, indent=1) + "\n")
    if options.plot:
        plot(measured, options.plot)
    return table(measured)


def step(box: WhiteBox, sizes: Sizes) -> float:
    """Return the seconds that an edit takes: its share of a gradient, its run and its score."""
    lm = local_lm(box, max_tokens=sizes.reasoning, cache=False)
    words = ["think", "step", "the", "answer", "with", "one", "line", "of", "work"]
    words = [words[i % len(words)] for i in range(sizes.instruction)]
    candidates = [" ".join([*words[:-1], str(number)]) for number in range(sizes.candidates)]
    subject = subject_of(TASK, " ".join(words), sizes.examples, SEED, lm)
    (runs,) = subject.roll_out([" ".join(words)])
    work = partial(_work, subject, " ".join(words), runs, candidates)
    return median(seconds(work) for _ in range(REPEATS)) / sizes.candidates


def _work(subject: PredictorView, held: str, runs: Any, candidates: list[str]) -> None:
    objective = AnswerObjective()
    objective.slope(subject, held, runs)
    objective.try_out(subject, candidates)


def exponent(points: list[list[float]]) -> float:
    """Return b of the best fit ``seconds = a * size ** b``."""
    size, spent = np.log(np.array(points)).T
    return float(np.polyfit(size, spent, 1)[0])


def table(measured: dict[str, list[list[float]]]) -> str:
    """Return milliseconds per edit at each size and the exponent of their growth."""
    rows = [
        [
            name,
            ", ".join(f"{size:g}: {1000 * spent:.0f}" for size, spent in points),
            f"{exponent(points):.2f}",
        ]
        for name, points in measured.items()
    ]
    return markdown(["what grows", "ms per edit", "exponent"], rows)


def plot(measured: dict[str, list[list[float]]], path: Path) -> None:
    """Draw seconds per edit against each size, with a line of linear growth."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(12, 3), sharey=True, constrained_layout=True)
    for axis, (name, points) in zip(axes, measured.items(), strict=True):
        sizes, spent = zip(*points, strict=True)
        axis.loglog(sizes, spent, marker="o", label="measured")
        linear = [spent[0] * size / sizes[0] for size in sizes]
        axis.loglog(sizes, linear, linestyle=":", color="grey", label="linear")
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel(name)
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].set_ylabel("seconds per edit")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
