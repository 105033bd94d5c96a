"""Whether a compile that is killed at any moment goes on and ends at the same result."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from dspy_greater import GreaterTeleprompter, VerifiedConfig
from examples.benchmarks.common import program_with
from examples.quickstart import SMALL_MODEL, load
from examples.small_model.tasks import TASKS, examples

SMALL = VerifiedConfig(max_steps=4, library=False, examples=0, asked=3, starts=2, patience=4)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--task", choices=list(TASKS), default="letters")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> str:
    """Kill, take up, compare; say how often the result was the same."""
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        whole = finished(options, Path(folder) / "whole")
        length = time.perf_counter() - began
        same = landed = 0
        for number in range(options.kills):
            log_dir = Path(folder) / str(number)
            landed += killed(options, log_dir, rng.uniform(0, length))
            same += finished(options, log_dir) == whole
            print(f"{number + 1} kills, {same} identical results", flush=True)
    return (
        f"{same} of {options.kills} runs ended at the result of the run that was left alone; "
        f"{landed} of them were killed before their end ({length:.0f} s alone)."
    )


def finished(options: argparse.Namespace, log_dir: Path) -> Any:
    """Compile in a process of its own, to the end; return the result."""
    process = _process(options, log_dir)
    process.join()
    if process.exitcode:
        raise RuntimeError(f"the compile in {log_dir} failed with {process.exitcode}")
    return json.loads((log_dir / "result.json").read_text())


def killed(options: argparse.Namespace, log_dir: Path, after: float) -> bool:
    """Compile in a process of its own and kill it; tell whether it was still running."""
    process = _process(options, log_dir)
    process.join(after)
    running = process.is_alive()
    if running and process.pid is not None:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    return running


def _process(options: argparse.Namespace, log_dir: Path) -> Any:
    # A fork has everything imported already; this process itself never runs a model.
    process = multiprocessing.get_context("fork").Process(target=_compile, args=(options, log_dir))
    process.start()
    return process


def _compile(options: argparse.Namespace, log_dir: Path) -> None:
    load(SMALL_MODEL)
    task = TASKS[options.task]
    compiled = GreaterTeleprompter(
        metric=task.metric, schedule=SMALL, seed=options.seed, log_dir=log_dir, progress=False
    ).compile(
        program_with(task),
        trainset=examples(task.name, "train", 16, options.seed),
        valset=examples(task.name, "validation", 16, options.seed),
    )
    record = compiled.detailed_results.to_dict()
    result = {"outcomes": record["outcomes"], "candidates": record["candidates"]}
    (log_dir / "result.json").write_text(json.dumps(result))
