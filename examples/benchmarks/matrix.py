"""The score matrix: every instruction on every question, on a real model.

    python -m examples.benchmark matrix --model FOLDER --tasks banking77 scone \
        --instructions FILE --questions 50 --out FILE --scores examples/results/matrix.jsonl

Rules of choosing and racing can be replayed on it offline. The instructions come from
`examples.benchmark instructions`. What is in --out already is not run again; there every answer is
kept. --scores keeps the same without texts: those of a task's data are not to be published again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import Any

import dspy
import numpy as np
from numpy.typing import NDArray

from dspy_greater import local_lm
from dspy_greater.basics.files import write_whole
from dspy_greater.cost import Meter
from dspy_greater.program import Metric, Run, current_adapter
from dspy_greater.program.rendering import end_marks
from dspy_greater.program.runs import run_programs
from examples.benchmarks.common import Cases, bootstrap, markdown
from examples.benchmarks.models import quiet
from examples.tasks import NAMES, BenchmarkTask, load

#: Most tokens of an answer, with reasoning before it and without.
REASONED, DIRECT = 256, 128
SIDES = ("training", "held_out")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", required=True, help="folder, hub id or GGUF file")
    parser.add_argument("--name", help="what the model is called in the file")
    parser.add_argument("--dtype", default="auto", help="number format of the weights")
    parser.add_argument("--tasks", nargs="+", choices=NAMES, required=True)
    parser.add_argument("--data", help="folder of the published data")
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=50, help="for training, and held out")
    parser.add_argument("--direct", action="store_true", help="no reasoning before the answer")
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scores", type=Path, help="where to keep the scores alone")


def run(options: argparse.Namespace) -> str:
    """Run what is missing, and return a table with a row for each task."""
    quiet()
    listed = [json.loads(line) for line in options.instructions.read_text().splitlines()]
    settings = {
        "model": options.name or Path(options.model).stem,
        "seed": options.seed,
        "questions": options.questions,
        "direct": options.direct,
    }
    cases = Cases(options.out, settings)
    kept = _kept(options.scores, cases)
    lm = None
    for name in options.tasks:
        task = load(name, options.data)
        task = task.without_reasoning() if options.direct else task
        for index, each in enumerate(line for line in listed if line["task"] == name):
            place = {**settings, "task": name, "instruction": index, **each}
            if _key(place) not in kept:
                lm = lm or _model(options)
                cell = _cell(task, each["text"], options, lm)
                cases.add(**place, **cell)
                kept = _kept(options.scores, cases)
    mine = [
        c for c in kept.values() if settings.items() <= c.items() and c["task"] in options.tasks
    ]
    return table(mine)


def _key(case: dict[str, Any]) -> str:
    """Return what no two cells have in common."""
    settings = [case[k] for k in ("model", "task", "seed", "questions", "direct")]
    return json.dumps([case.get("digest") or _digest(case["text"]), *settings])


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:12]


def _kept(path: Path | None, cases: Cases) -> dict[str, dict[str, Any]]:
    """Return the scores of all cells, those kept before and the finished ones; keep them all."""
    known = path.read_text().splitlines() if path and path.exists() else []
    kept = {_key(case): case for case in map(json.loads, known)}
    kept |= {_key(case): _without_texts(case) for case in cases.read()}
    if path and kept:
        lines = "".join(json.dumps(case) + "\n" for case in kept.values())
        write_whole(path, lines.encode(), "matrix of scores")
    return kept


def _model(options: argparse.Namespace) -> dspy.LM:
    stop, longest = end_marks(current_adapter()), DIRECT if options.direct else REASONED
    lm = local_lm(options.model, dtype=options.dtype, max_tokens=longest, stop=stop, cache=False)
    dspy.configure(lm=lm)
    return lm


def _cell(
    task: BenchmarkTask, instruction: str, options: argparse.Namespace, lm: dspy.LM
) -> dict[str, Any]:
    """Run one instruction on the questions of both sides."""
    splits = task.splits(options.seed)
    sides = ([*splits.train, *splits.validation], splits.test)
    questions = [each[: options.questions] for each in sides]
    program = task.program(instruction)
    meter, began = Meter(), time.perf_counter()
    meter.engine = lm.engine
    # All in one batch: a long answer holds up only one.
    (runs,) = run_programs(
        [program],
        [[each for side in questions for each in side]],
        Metric(task.metric),
        lms=[lm],
        meter=meter,
    )
    shown = [_shown(run) for run in runs]
    cut = len(questions[0])
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "tokens": {"read": meter.counts.tokens_prompt, "written": meter.counts.tokens_decoded},
        **dict(zip(SIDES, (shown[:cut], shown[cut:]), strict=True)),
    }


def _shown(run: Run) -> dict[str, Any]:
    """Return what is kept of a run."""
    used = list(run.usage.values())
    return {
        "score": run.score,
        "unreadable": run.parse_failed,
        "read": sum(each.tokens_read for each in used),
        "written": sum(each.tokens_written for each in used),
        "answer": None if run.prediction is None else run.prediction.toDict(),
        **({"error": run.error} if run.error else {}),
    }


def _without_texts(case: dict[str, Any]) -> dict[str, Any]:
    """Return a cell with a list of each number, without instruction, questions and answers."""
    lists = {
        f"{side}_{what}": [round(float(run[what]), 3) for run in case[side]]
        for side in SIDES
        for what in ("score", "unreadable", "read", "written")
    }
    whole = {name: [int(v) if v % 1 == 0 else v for v in values] for name, values in lists.items()}
    kept = {name: value for name, value in case.items() if name not in (*SIDES, "text")}
    return {**kept, "digest": _digest(case["text"]), **whole}


def table(cases: Sequence[dict[str, Any]]) -> str:
    """Return what an instruction matters, by model and task, on held-out questions.

    The worst and the best instruction are those of the training questions.
    """
    header = ["model", "task", "instructions", "DSPy's", "worst", "best", "best - DSPy's [95 %]"]
    rows = []
    for model, name in dict.fromkeys((case["model"], case["task"]) for case in cases):
        mine = [case for case in cases if (case["model"], case["task"]) == (model, name)]
        rows.append([model, name, str(len(mine)), *_row(mine)])
    return markdown([*header, "source of best", "spread", "readable", "s a run"], rows)


def _row(cases: Sequence[dict[str, Any]]) -> list[str]:
    ranked = sorted(cases, key=lambda case: mean(case["training_score"]))
    default = next(case for case in cases if case["source"] == "default")
    worst, best = ranked[0], ranked[-1]
    pairs = zip(best["held_out_score"], default["held_out_score"], strict=True)
    gain, low, high = bootstrap([100 * (one - other) for one, other in pairs])
    failed = [bad for case in cases for side in SIDES for bad in case[f"{side}_unreadable"]]
    seconds = sum(case["seconds"] for case in cases) / len(failed)
    return [
        *(f"{100 * mean(each['held_out_score']):.0f}" for each in (default, worst, best)),
        f"{gain:+.0f} [{low:+.0f}, {high:+.0f}]",
        best["source"],
        f"{100 * spread(scores_of(cases)):.1f}",
        f"{100 * (1 - mean(failed)):.0f} %",
        f"{seconds:.2f}",
    ]


def scores_of(cases: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the scores of a task's instructions, ``[instructions, questions]``, DSPy's first."""
    own = sorted(cases, key=lambda case: case["source"] != "default")
    return np.array([[v for side in SIDES for v in case[f"{side}_score"]] for case in own])


def spread(scores: NDArray[np.float64]) -> float:
    """Return the standard deviation of what instructions are worth; 0 where it can all be chance.

    The variance of their means over these questions, less what it would be if they differed in
    nothing but luck: the component of variance of a two-way layout without replication (Searle,
    Casella and McCulloch, Variance Components, 1992, section 4.4).

    Args:
        scores: Of the same questions under each, ``[instructions, questions]``.
    """
    questions = scores.shape[1]
    between = scores.mean(axis=1).var(ddof=1)
    return float(np.sqrt(max(0.0, between - luck(scores) / questions)))


def luck(scores: NDArray[np.float64]) -> float:
    """Return the variance of a score that neither its instruction nor its question explains."""
    instructions, questions = scores.shape
    residuals = scores - scores.mean(axis=0)
    residuals = residuals - residuals.mean(axis=1, keepdims=True)
    return float((residuals**2).sum() / ((instructions - 1) * (questions - 1)))
