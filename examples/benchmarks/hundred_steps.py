"""What a hundred steps of the published code take on a real model, beside a light compile.

A step is timed on a few training examples, in the published way and by our engine. In either its
work is proportional to the number of examples. A light compile is counted in passes of the program
over training and validation examples (`profile`), so both come in the unit of a run of the start.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from dspy_greater import local_lm
from dspy_greater.model import WhiteBox
from examples.benchmarks.against_published import SEED, against_published
from examples.benchmarks.common import Place, markdown, place_in
from examples.benchmarks.profile import IN_FLIGHT, opened
from examples.tasks import BenchmarkTask

#: What the authors' scripts take, and the training examples of the comparison.
STEPS, TRAIN = 100, 50


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Time a run of the start, and steps in both ways."""
    subject = opened(options)
    model, tokenizer, task, _, machine = subject
    train, validation, test = task.splits(SEED)
    place = partial(_place, task=task, options=options)
    return {
        **subject.facts(options),
        "start": subject.run(test[:IN_FLIGHT]),
        "pass": len(train) + len(validation),
        "steps": against_published(model, tokenizer, machine, options, place),
    }


def _place(box: WhiteBox, task: BenchmarkTask, options: argparse.Namespace) -> Place:
    lm = local_lm(box, max_tokens=options.max_tokens, cache=False)
    return place_in(task.program(), task.splits(SEED).train[: options.examples], task.metric, lm)


def report(figures: dict[str, Any]) -> str:
    """Return the table."""
    steps, one_pass = figures["steps"], figures["pass"] * figures["start"]
    edits, rows = steps["published_edits_a_step"], []
    for name, key in (("as published", "published"), ("published schedule, ours", "paper")):
        step = steps[f"{key}_seconds"] * edits
        whole = step * TRAIN / steps["examples"] * STEPS
        rows.append([name, f"{step:.1f}", f"{whole / 3600:.1f}", f"{whole / one_pass:,.0f}"])
    header = [
        "way",
        f"seconds a step on {steps['examples']} examples",
        f"hours, {STEPS} steps on {TRAIN}",
        f"passes over {figures['pass']} examples",
    ]
    return "\n\n".join(
        [
            f"{figures['model']} in {figures['dtype']} on {figures['task']}; "
            f"a run of the start with {IN_FLIGHT} in flight: {figures['start']:.3f} s; "
            f"{edits:.0f} edits a step",
            markdown(header, rows),
            f"largest difference of a candidate's loss: {steps['largest_difference']:.1e}",
        ]
    )
