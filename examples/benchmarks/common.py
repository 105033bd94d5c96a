"""What the benchmarks share: finished cases kept in a file, starting points, held-out accuracy."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import dspy
import numpy as np

from dspy_greater import GreaterTeleprompter
from dspy_greater.cost import Meter
from dspy_greater.lm import white_box
from dspy_greater.program import Metric, current_adapter
from dspy_greater.program.predictors import predictors_of, replace_instruction
from dspy_greater.program.runs import run_programs
from dspy_greater.running import ProgramRunner
from dspy_greater.search import PredictorView, Program, ScoreBoard, Scores, compare
from examples.published_schedule.tokens import proposals
from examples.small_model.tasks import TASKS, Task, examples

RESULTS = Path(__file__).resolve().parents[1] / "results"
TRAIN, VALIDATION, HELD_OUT = 50, 50, 500
#: Training examples after whose inputs an instruction's perplexity is read.
CONTEXTS = 8


def choose_cases(parser: argparse.ArgumentParser) -> None:
    """Let the command line choose tasks and seeds."""
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])


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


class Place(NamedTuple):
    """What a search of a program's only predictor works with, outside of a compile.

    Attributes:
        view: The predictor on its training examples.
        board: Runs programs on them; there are no validation examples, and all score 0 on these.
        start: The program.
    """

    view: PredictorView
    board: ScoreBoard
    start: Program


class _Unvalidated(ProgramRunner):
    def validate(self, programs: Sequence[Program]) -> list[list[float]]:
        return [[0.0]] * len(programs)


def place_of(name: str, instruction: str, size: int, seed: int, lm: dspy.LM) -> Place:
    """Return where a task's predictor is searched from an instruction."""
    task = TASKS[name]
    train = examples(name, "train", size, seed)
    return place_in(program_with(task, instruction), train, task.metric, lm)


def place_in(
    program: dspy.Module, train: list[dspy.Example], metric: Callable[..., Any], lm: dspy.LM
) -> Place:
    """Return where the only predictor of a program is searched."""
    (predictor,) = found = predictors_of(program, train)
    start = Program.of({predictor.name: predictor.instruction})
    runner = _Unvalidated(program, start, found, train, [], Metric(metric), Meter(), lm)
    board = ScoreBoard(Scores(), runner, len(train))
    view = PredictorView(
        predictor,
        train,
        white_box(lm),
        current_adapter(),
        received=lambda: board.runs(start, range(len(train))),
    )
    return Place(view, board, start)


def compiled_case(name: str, seed: int, lm: dspy.LM, **settings: Any) -> dict[str, Any]:
    """Compile one task from DSPy's default instruction and score it on held-out questions."""
    task = TASKS[name]
    compiled = GreaterTeleprompter(metric=task.metric, seed=seed, **settings).compile(
        program_with(task),
        trainset=examples(name, "train", TRAIN, seed),
        valset=examples(name, "validation", VALIDATION, seed),
    )
    record = compiled.detailed_results
    (outcome,) = record.outcomes
    texts = [default_instruction(task), outcome.after, task.good_instruction]
    before, after, good = accuracies(task, texts, examples(name, "test", HELD_OUT, seed), lm)
    view = place_of(name, outcome.after, CONTEXTS, seed, lm).view
    return {
        "instruction": outcome.after,
        "before": mean(before),
        "after": mean(after),
        "good": mean(good),
        "standard_error": compare(after, before).standard_error,
        "perplexity": perplexity(view, outcome.after),
        "good_perplexity": perplexity(view, task.good_instruction),
        "length": outcome.tokens_after,
        "copied": outcome.copied_words,
        "stopped": outcome.stopped,
        "steps": outcome.steps,
        "looks": outcome.looks,
        "metric_calls": record.total_calls,
        "tokens": sum(n for key, n in record.counts.items() if key.startswith("tokens")),
        "seconds": round(record.seconds, 1),
    }


def perplexity(view: PredictorView, instruction: str) -> float:
    """Return the geometric mean of an instruction's perplexity after training inputs."""
    log_probs = view.model.log_probs(proposals(view, instruction, range(CONTEXTS)))
    return math.exp(-mean(float(each.mean()) for each in log_probs))


def accuracies(
    task: Task, instructions: Sequence[str], examples: list[dspy.Example], lm: dspy.LM
) -> list[list[float]]:
    """Return the score of each instruction on each example."""
    programs = [program_with(task, text) for text in instructions]
    every = [examples] * len(programs)
    runs = run_programs(programs, every, Metric(task.metric), lms=[lm] * len(programs))
    return [[run.score for run in each] for each in runs]


def bootstrap(values: Sequence[float], draws: int = 10_000) -> tuple[float, float, float]:
    """Return the mean and its 95 % bootstrap interval."""
    array = np.asarray(values)
    picks = np.random.default_rng(0).integers(0, len(array), (draws, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), [0.025, 0.975])
    return mean(values), float(low), float(high)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the mean of ratios or perplexities."""
    return math.exp(mean(math.log(value) for value in values))


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
