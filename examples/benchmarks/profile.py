"""Where the seconds of a compile on a real model go, beside what the machine could do at best.

Every pass of the model is timed: prompts that are read, and decoding steps by how many rows are
still in their batch, so that steps few rows are left in, the tails, stand by themselves. Floors are
as in `speed`: products at the rate of a large matrix product in the model's number format, weights
and keys read at the rate of a large copy.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import dspy
from transformers import AutoModelForCausalLM, AutoTokenizer

from dspy_greater import GreaterTeleprompter, local_lm
from dspy_greater.lm import white_box
from dspy_greater.program import Metric
from dspy_greater.program.runs import run_programs
from examples.benchmarks.common import markdown
from examples.benchmarks.machine import Costs, Machine, wait_for
from examples.tasks import BenchmarkTask, load

#: Rows of a batch up to which decoding steps are put together.
ROWS = (1, 4, 16, 64, 128)
#: Requests in flight at which the price of a run is measured.
IN_FLIGHT = 64


@dataclass
class Passes:
    """What passes of one kind took: how many, tokens, seconds and their floor."""

    count: int = 0
    tokens: int = 0
    seconds: float = 0.0
    floor: float = 0.0


@dataclass
class Clock:
    """Times every pass of a model."""

    costs: Costs
    machine: Machine
    passes: defaultdict[str, Passes] = field(default_factory=lambda: defaultdict(Passes))

    @contextmanager
    def on(self, model: Any) -> Iterator[None]:
        """Listen to a model."""
        began: list[float] = []

        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            wait_for(module.device)
            began.append(time.perf_counter())

        def after(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            wait_for(module.device)
            self._note(kwargs, time.perf_counter() - began.pop())

        hooks = (
            model.register_forward_pre_hook(before, with_kwargs=True),
            model.register_forward_hook(after, with_kwargs=True),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, kwargs: dict[str, Any], seconds: float) -> None:
        given = kwargs.get("input_ids")
        given = kwargs["inputs_embeds"] if given is None else given
        rows, columns = given.shape[:2]
        mask = kwargs.get("attention_mask")
        if columns == 1:
            keys = int(mask.sum()) if mask is not None else 0
            kind, tokens = f"decode, up to {next(n for n in ROWS if rows <= n)} rows", rows
            floor = self.costs.step(rows, keys, self.machine)
        else:
            # Padding is no token that anybody needs.
            tokens = int(mask[:, -columns:].sum()) if mask is not None else rows * columns
            kind, floor = "read", self.costs.read(tokens, rows, self.machine)
        its = self.passes[kind]
        its.count += 1
        its.tokens += tokens
        its.seconds += seconds
        its.floor += floor


class Subject(NamedTuple):
    """What is looked into: a program on a real model, and the rates of its machine."""

    model: Any
    tokenizer: Any
    task: BenchmarkTask
    lm: dspy.LM
    machine: Machine

    def facts(self, options: argparse.Namespace) -> dict[str, Any]:
        """Return what figures are told of, besides themselves."""
        return {
            "model": options.name or white_box(self.lm).name,
            "task": self.task.name,
            "direct": options.direct,
            "machine": asdict(self.machine),
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    def run(self, examples: Sequence[dspy.Example]) -> float:
        """Return the seconds of a run of the start on each of them, all in flight at once."""
        began = time.perf_counter()
        run_programs([self.task.program()], [examples], Metric(self.task.metric), lms=[self.lm])
        return (time.perf_counter() - began) / len(examples)


def opened(options: argparse.Namespace) -> Subject:
    """Return a task on the model of a folder, warm and in the number format that users have."""
    dtype = white_box(local_lm(options.model, device=options.device)).dtype
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype).to(options.device)
    task = load(options.task, options.data)
    task = task.without_reasoning() if options.direct else task
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    lm = local_lm((model, tokenizer), max_tokens=options.max_tokens, cache=False)
    machine = Machine.measure(model.device, model.dtype)
    subject = Subject(model, tokenizer, task, lm, machine)
    subject.run(task.splits(0).test[:2])
    return subject


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run the start with 64 requests in flight, then compile, and return what both took."""
    subject = opened(options)
    model, task = subject.model, subject.task
    clock = Clock(Costs.of(model), subject.machine)
    train, validation, test = task.splits(0)
    with dspy.context(lm=subject.lm), clock.on(model):
        seconds = subject.run(test[:IN_FLIGHT])
        floor = sum(its.floor for its in clock.passes.values()) / len(test[:IN_FLIGHT])
        clock.passes.clear()
        compiled = GreaterTeleprompter(
            metric=task.metric, max_metric_calls=options.runs, progress=False
        ).compile(task.program(), trainset=train, valset=validation)
    record = compiled.detailed_results
    return {
        **subject.facts(options),
        "start": {"seconds": seconds, "floor": floor},
        "examples": len(train) + len(validation),
        "runs": record.total_calls,
        "seconds": record.seconds,
        "phases": record.phases,
        "passes": {kind: asdict(its) for kind, its in sorted(clock.passes.items())},
    }


def report(figures: dict[str, Any]) -> str:
    """Return the tables."""
    machine, start, passes = figures["machine"], figures["start"], figures["passes"]
    alone = figures["examples"] * start["seconds"]
    whole, inside = figures["seconds"], sum(each["seconds"] for each in passes.values())
    rows = [
        [
            kind,
            f"{each['count']:,}",
            f"{each['tokens']:,}",
            f"{each['seconds']:.1f}",
            f"{each['floor']:.1f}",
            f"{each['seconds'] / each['floor']:.1f}",
        ]
        for kind, each in passes.items()
    ]
    rows.append(["all else", "", "", f"{whole - inside:.1f}", "", ""])
    return "\n\n".join(
        [
            f"{figures['model']} in {figures['dtype']}; {machine['flops'] / 1e9:.0f} GFLOP/s, "
            f"{machine['bandwidth'] / 1e9:.1f} GB/s, {machine['threads']} threads",
            f"a run of the start with {IN_FLIGHT} in flight: {start['seconds']:.3f} s, "
            f"{start['seconds'] / start['floor']:.1f} times its floor",
            f"the compile: {figures['runs']:,} runs in {whole:.1f} s, {whole / alone:.1f} passes "
            "over training and validation examples at that rate",
            markdown(["passes", "count", "tokens", "seconds", "floor", "gap"], rows),
        ]
    )
