"""What the benchmarks share: finished cases kept in a file, starting points, held-out accuracy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import dspy
import numpy as np

from dspy_greater.program import Metric, replace_instruction, run_programs
from examples.small_model.evaluate import STEP_BY_STEP
from examples.small_model.tasks import TASKS, WEAK_INSTRUCTION, Task

RESULTS = Path(__file__).resolve().parents[1] / "results"


class Cases:
    """Finished cases, one JSON object a line; a case already there is not run again.

    Args:
        path: The file.
        settings: What all cases have in common; cases with other settings do not count.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.settings = settings

    def read(self) -> list[dict[str, Any]]:
        """Return the finished cases with these settings."""
        if not self.path.exists():
            return []
        cases = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [case for case in cases if self.settings.items() <= case.items()]

    def lack(self, **case: Any) -> bool:
        """Whether a case is still to be run."""
        return not any(case.items() <= done.items() for done in self.read())

    def add(self, **case: Any) -> None:
        """Keep a finished case."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({**self.settings, **case}) + "\n")


def program_with(task: Task, instruction: str | None = None) -> dspy.Module:
    """Return a task's program; without an instruction it has DSPy's own."""
    program = task.program()
    (name, _), *_ = program.named_predictors()
    return program if instruction is None else replace_instruction(program, {name: instruction})


def default_instruction(task: Task) -> str:
    """Return the instruction that DSPy gives a task's program."""
    return str(task.program().predictors()[0].signature.instructions)


def starting_points(task_name: str) -> dict[str, str]:
    """Return four instructions to begin with: by name, none of them good."""
    task = TASKS[task_name]
    return {
        "default": default_instruction(task),
        "weak": WEAK_INSTRUCTION,
        "step by step": STEP_BY_STEP,
        "method only": task.good_instruction.split(". ")[-1],
    }


def accuracies(
    task: Task, instructions: Sequence[str], examples: list[dspy.Example], lm: dspy.LM
) -> list[list[float]]:
    """Return the score of each instruction on each example."""
    programs = [program_with(task, text) for text in instructions]
    runs = run_programs(programs, examples, Metric(task.metric), lms=[lm] * len(programs))
    return [[run.score for run in each] for each in runs]


def bootstrap(values: Sequence[float], draws: int = 10_000) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval."""
    array = np.asarray(values)
    picks = np.random.default_rng(0).integers(0, len(array), (draws, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), [0.025, 0.975])
    return mean(values), float(low), float(high)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
