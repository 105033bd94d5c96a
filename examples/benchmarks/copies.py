"""How far copies of the small model, and models near it, are from it in the check of a server.

What `dspy_greater.running.served` allows was chosen from these figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TorchAoConfig

from dspy_greater.model import Sampling, WhiteBox, load
from dspy_greater.program import current_adapter
from dspy_greater.program.predictors import predictors_of
from dspy_greater.running.served import GAP, LOSS, TOKENS, Answer, Prompt, loss, prompts_of, read
from examples.benchmarks.common import RESULTS, markdown, program_with
from examples.quickstart import SMALL_MODEL
from examples.small_model.finetune import finetune
from examples.small_model.tasks import TASKS, WEAK_INSTRUCTION, examples

#: What is told of a copy, and how much of it is allowed.
FIGURES = {"gap": GAP, "loss": LOSS}
BATCHES = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line: nothing to choose."""


def run(options: argparse.Namespace) -> str:
    """Compare every copy on every task, keep the figures and return the table."""
    here = load(SMALL_MODEL, device="cpu")
    asked = {name: prompts_by_task(name) for name in TASKS}
    measured = {
        name: {task: compared(here, copy, prompts) for task, prompts in asked.items()}
        for name, copy in copies()
    }
    (RESULTS / "copies.json").write_text(json.dumps(measured, indent=1) + "\n")
    return table(measured)


def copies() -> Iterator[tuple[str, WhiteBox]]:
    """Yield the copies, one at a time."""
    int8 = TorchAoConfig(Int8WeightOnlyConfig())
    yield "fp16", load(SMALL_MODEL, device="cpu", dtype="float16")
    yield "bf16", load(SMALL_MODEL, device="cpu", dtype="bfloat16")
    yield "int8, weights alone", load(SMALL_MODEL, device="cpu", quantization_config=int8)
    yield "noise of 1 % of a weight's spread", changed(lambda weights: noisy(weights, 0.01))
    yield "noise of 3 %", changed(lambda weights: noisy(weights, 0.03))
    yield "int4, a scale for each row", changed(rounded)
    yield f"{BATCHES} batches of further training", trained_further()


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> WhiteBox:
    """Return a copy of which every matrix is changed."""
    model = AutoModelForCausalLM.from_pretrained(SMALL_MODEL, dtype=torch.float32)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                weights.copy_(change(weights))
    return load((model, AutoTokenizer.from_pretrained(SMALL_MODEL)))


def noisy(weights: torch.Tensor, share: float) -> torch.Tensor:
    """Add noise of a share of the weights' standard deviation."""
    return weights + share * weights.std() * torch.randn_like(weights)


def rounded(weights: torch.Tensor) -> torch.Tensor:
    """Round to the nearest of fifteen steps of each row."""
    step = weights.abs().amax(dim=1, keepdim=True) / 7
    return (weights / step).round() * step


def trained_further() -> WhiteBox:
    """Return the relative that `examples.small_model.finetune` makes."""
    model = AutoModelForCausalLM.from_pretrained(SMALL_MODEL, dtype=torch.float32).train()
    tokenizer = AutoTokenizer.from_pretrained(SMALL_MODEL)
    torch.manual_seed(101)
    finetune(model, tokenizer, argparse.Namespace(rate=1e-3, batches=BATCHES, seed=101))
    return load((model, tokenizer))


def prompts_by_task(name: str) -> list[Prompt]:
    """Return what a server would be asked before a search of the task."""
    task = TASKS[name]
    train = examples(name, "train", 4, 0)
    parts = predictors_of(program_with(task, WEAK_INSTRUCTION), train)
    return prompts_of(parts, train, current_adapter())


def compared(here: WhiteBox, copy: WhiteBox, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Let the white box read what a copy answers."""
    answers = answered(copy, prompts)
    readings = read(here, [prompt.messages for prompt in prompts], answers, TOKENS)
    pairs = zip(prompts, readings, strict=True)
    return {
        "gap": max(max(reading.gaps()) for prompt, reading in pairs if prompt.is_own),
        "loss": loss(readings),
    }


def answered(copy: WhiteBox, prompts: Sequence[Prompt]) -> list[Answer]:
    """Let a copy answer as a server does."""
    ids = [copy.encode(prompt.messages).ids for prompt in prompts]
    written = copy.generate(ids, [Sampling(TOKENS)] * len(ids))
    return [Answer(each.text, ended=each.finish == "stop") for each in written]


def table(measured: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return the smallest and the largest of the tasks' figures, by copy."""
    rows: list[list[Any]] = [["allowed", *(f"{most:g}" for most in FIGURES.values())]]
    for name, tasks in measured.items():
        figures = [[each[figure] for each in tasks.values()] for figure in FIGURES]
        rows.append([name, *(f"{min(each):.4f} - {max(each):.4f}" for each in figures)])
    return markdown(["copy", *FIGURES], rows)
