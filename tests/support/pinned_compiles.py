"""Small compiles of the shipped model whose results are kept to the letter.

    python -m tests.support.pinned_compiles  # write tests/pinned_compiles.json anew

A change that is not meant to change what the search does leaves them as they are. One that is
meant to writes them anew, and says so.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from examples.published_schedule import PaperConfig
from examples.quickstart import SMALL_MODEL
from examples.small_model.tasks import TASKS, examples
from examples.two_hop import TwoCounters, questions
from examples.two_hop import metric as two_hop_metric

FILE = Path(__file__).resolve().parents[1] / "pinned_compiles.json"

SMALL = VerifiedConfig(max_steps=3, examples=4, asked=2, starts=3, patience=2)
#: The model is asked again and again.
ASKED = VerifiedConfig(max_steps=4, library=False, examples=0, asked=3, starts=1, patience=3)
PAPER = PaperConfig(max_steps=4, top_k=10, shortlist_size=2)


def one(task: str, seed: int, **knobs: Any) -> dspy.Module:
    """Compile a program of one predictor."""
    chosen = TASKS[task]
    program = chosen.program()
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(chosen.weak_instruction)
    return GreaterTeleprompter(metric=chosen.metric, seed=seed, progress=False, **knobs).compile(
        program,
        trainset=examples(task, "train", 16, seed),
        valset=examples(task, "validation", 20, seed),
    )


def two(seed: int, **knobs: Any) -> dspy.Module:
    """Compile a program of two predictors, of which only the last has an effect on the metric."""
    return GreaterTeleprompter(metric=two_hop_metric, seed=seed, progress=False, **knobs).compile(
        TwoCounters(), trainset=questions(16, seed), valset=questions(44, seed)[24:]
    )


def resumed(compiles: Callable[..., dspy.Module], stop_after: int, **knobs: Any) -> dspy.Module:
    """Compile until a callback raises after some steps, then again with the same ``log_dir``."""
    told = []

    class Killed(BaseException):
        pass

    def kill(event: Any) -> None:
        told.append(event)
        if len(told) == stop_after:
            raise Killed

    with tempfile.TemporaryDirectory() as folder:
        try:
            compiles(log_dir=folder, callback=kill, **knobs)
        except Killed:
            pass
        else:
            raise AssertionError(f"ended in fewer than {stop_after} steps")
        return compiles(log_dir=folder, **knobs)


CASES: dict[str, Callable[[dspy.LM], dspy.Module]] = {
    "verified letters": lambda lm: one("letters", 0, schedule=SMALL),
    "verified arithmetic": lambda lm: one("arithmetic", 1, schedule=ASKED),
    "verified weekday": lambda lm: one("weekday", 2, schedule=ASKED),
    "verified default split": lambda lm: GreaterTeleprompter(
        metric=TASKS["sorting"].metric, seed=3, progress=False, schedule=ASKED, max_examples=12
    ).compile(TASKS["sorting"].program(), trainset=examples("sorting", "train", 30, 3)),
    "paper letters": lambda lm: one("letters", 0, schedule=PAPER),
    "paper grid": lambda lm: one("grid", 1, schedule=PAPER),
    "runs bounded": lambda lm: one("letters", 4, max_metric_calls=150),
    "tokens bounded": lambda lm: one("prices", 5, max_tokens=20_000),
    "target": lambda lm: one("letters", 6, schedule=ASKED, target_lm=lm.copy(max_tokens=60)),
    "two, one after the other": lambda lm: two(0, schedule=SMALL),
    "two, runs bounded": lambda lm: two(2, max_metric_calls=400),
    "two, one frozen": lambda lm: two(3, schedule=SMALL, frozen=["second.predict"]),
    "killed, arithmetic": lambda lm: resumed(
        lambda **k: one("arithmetic", 2, schedule=ASKED, **k), 2
    ),
    "killed, paper": lambda lm: resumed(lambda **k: one("letters", 0, schedule=PAPER, **k), 3),
    "killed, two": lambda lm: resumed(lambda **k: two(0, schedule=ASKED, **k), 3),
    "killed, two bounded": lambda lm: resumed(lambda **k: two(2, max_metric_calls=400, **k), 2),
}


def small_lm() -> dspy.LM:
    """Return the shipped model, without DSPy's cache."""
    return local_lm(SMALL_MODEL, max_tokens=120, cache=False)


def result(program: dspy.Module) -> dict[str, Any]:
    """Return what a compile ended with: instructions, scores, verdicts; nothing about cost."""
    record = program.detailed_results
    return {
        "instructions": {n: p.signature.instructions for n, p in program.named_predictors()},
        "candidates": [
            [
                each.predictor,
                each.instruction,
                each.step,
                each.kind,
                each.accepted,
                each.train_scores,
                each.validation_scores,
                dict(sorted(each.others.items())),
            ]
            for each in record.candidates
        ],
        "outcomes": [
            [
                each.predictor,
                each.before,
                each.after,
                each.score_before,
                each.score_after,
                each.p_value,
                each.looks,
                each.steps,
                each.stopped,
                each.together,
                each.copied_words,
            ]
            for each in record.outcomes
        ],
    }


def run(name: str, lm: dspy.LM) -> dict[str, Any]:
    """Run a case, as JSON gives it back."""
    with dspy.context(lm=lm):
        found: dict[str, Any] = json.loads(json.dumps(result(CASES[name](lm))))
    return found


if __name__ == "__main__":
    import logging
    import time

    import torch

    torch.set_num_threads(1)
    logging.disable()
    model, found = small_lm(), {}
    for case in CASES:
        began = time.time()
        found[case] = run(case, model)
        print(f"{time.time() - began:5.1f} s  {case}", flush=True)
    FILE.write_text(json.dumps(found, indent=1) + "\n")
