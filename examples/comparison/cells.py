"""One cell of the comparison: one optimizer on one task with one seed and budget."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
import torch

from dspy_greater.cost import Counts
from dspy_greater.lm import white_box
from dspy_greater.program import Metric
from dspy_greater.program.runs import run_programs
from examples.benchmarks.common import place_in
from examples.comparison.optimizers import ASKING, BASELINES, OPTIMIZERS, Setting
from examples.comparison.stand_in import stand_in
from examples.tasks import BenchmarkTask, Splits

#: Examples on which the price of a run is measured, and after which the stand-in writes.
FEW = 8
#: Marks the second row of an optimizer that asks a prompt model.
STAND_IN = " + stand-in"


def rows(optimizers: Sequence[str], helped: bool) -> list[str]:
    """Return the rows of some optimizers.

    Where they are ``helped``, those that ask a prompt model have a second one with the stand-in.
    """
    asking = [name for name in optimizers if name in ASKING and helped]
    return [row for name in optimizers for row in (name, *([name + STAND_IN] * (name in asking)))]


@dataclass(frozen=True)
class Contest:
    """Runs optimizers under equal conditions.

    Args:
        lm: The local model: it runs the programs, and gives ours its gradients.
        prompt_model: Name of another LM that writes instructions for those that ask for some.
    """

    lm: dspy.LM
    prompt_model: str | None = None

    def cell(self, row: str, task: BenchmarkTask, seed: int, budget: int) -> dict[str, Any]:
        """Run one optimizer, or a baseline, on one task.

        Returns:
            Held-out scores by question, the instruction, demos, the model's number format, tokens,
            seconds, and the error of an optimizer that raised; its program is then the start.
        """
        if row in BASELINES:
            return self.given(BASELINES[row](task), task, seed)
        splits = task.splits(seed)
        program, spent = self._optimized(row, task, splits, seed, budget)
        return self._outcome(program, task, splits, spent)

    def given(self, instruction: str | None, task: BenchmarkTask, seed: int) -> dict[str, Any]:
        """Return the cell of an instruction that costs nothing; None is DSPy's own."""
        free = {"tokens": 0, "seconds": 0.0, "error": None}
        return self._outcome(task.program(instruction), task, task.splits(seed), free)

    def _outcome(
        self, program: dspy.Module, task: BenchmarkTask, splits: Splits, spent: dict[str, Any]
    ) -> dict[str, Any]:
        predictor = program.predictors()[0]
        return {
            "scores": self._held_out(program, task, splits),
            "instruction": predictor.signature.instructions,
            "demos": len(predictor.demos),
            "dtype": str(white_box(self.lm).dtype).removeprefix("torch."),
            **spent,
        }

    def _optimized(
        self, row: str, task: BenchmarkTask, splits: Splits, seed: int, budget: int
    ) -> tuple[dspy.Module, dict[str, Any]]:
        """Return what an optimizer makes of the start, and what it spent."""
        runs = int(budget / self._price(task, splits))
        dspy.cache.reset_memory_cache()  # nobody profits from what another has run
        prompt_lm = self._prompt_lm(row, task, splits, seed)
        torch.manual_seed(seed)  # for samples that an optimizer does not seed
        model = white_box(self.lm)
        counts, began = model.counts.snapshot(), time.perf_counter()

        def spent() -> int:
            return cost(model.counts - counts)

        program, error = task.program(), None
        try:
            with quietly():
                setting = Setting(task, splits, prompt_lm, budget, runs, spent, seed)
                program = OPTIMIZERS[row.removesuffix(STAND_IN)](setting)
        except Exception as caught:
            error = f"{type(caught).__name__}: {str(caught)[:300]}"
        seconds = round(time.perf_counter() - began, 1)
        return program, {"tokens": spent(), "seconds": seconds, "error": error}

    def _held_out(self, program: dspy.Module, task: BenchmarkTask, splits: Splits) -> list[float]:
        """Return the score of each test question; an answer that does not parse is wrong."""
        (runs,) = run_programs([program], [splits.test], Metric(task.metric), lms=[self.lm])
        return [run.score for run in runs]

    def _price(self, task: BenchmarkTask, splits: Splits) -> float:
        """Return the tokens that a run of the start takes in the mean."""
        dspy.cache.reset_memory_cache()
        model, few = white_box(self.lm), splits.train[:FEW]
        counts = model.counts.snapshot()
        run_programs([task.program()], [few], Metric(task.metric), lms=[self.lm])
        return cost(model.counts - counts) / len(few)

    def _prompt_lm(self, row: str, task: BenchmarkTask, splits: Splits, seed: int) -> dspy.LM:
        """Return what writes instructions for the optimizers that ask for some."""
        if self.prompt_model:
            return dspy.LM(self.prompt_model, temperature=1.0)
        if not row.endswith(STAND_IN):
            return self.lm
        program, few = task.program(), splits.train[:FEW]
        view = place_in(program, few, task.metric, self.lm).view
        names = [name for name, _ in program.named_predictors()]
        return stand_in(white_box(self.lm), view.contexts(range(len(few))), names, seed)


def cost(counts: Counts) -> int:
    """Return tokens through the model, in forward passes.

    With frozen weights the way back costs as much as the way forth, so a token of a gradient
    counts twice.
    """
    return counts.tokens + counts.tokens_backward


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep bars, tables and logs of optimizers from the screen."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
