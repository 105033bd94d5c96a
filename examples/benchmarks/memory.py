"""How much memory a gradient takes, by the rows of its micro-batch (Linux).

Measured in two processes. The C library keeps what is freed for later, in pieces that do not always
fit, so that a process grows by more than its tensors ever take at a time. Where the library gives
every larger block back at once, the growth is what the tensors take.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import Targeted
from examples.benchmarks.common import markdown
from examples.benchmarks.models import load_model
from examples.published_schedule.white_box import GradientBox

LENGTH = 256
ROWS = (1, 2, 4, 8, 16)
MEBIBYTE = 2**20
#: Lets glibc give back every block of so many bytes and more.
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**17)}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", choices=["small", "untrained"], default="untrained")
    parser.add_argument("--json", type=Path, help="write the figures to this file")


def run(options: argparse.Namespace) -> str:
    """Measure each number of rows in both processes and return the table."""
    process = elsewhere(options.model)
    tensors = elsewhere(options.model, **GIVES_BACK)
    found = [
        {**kept, "tensors": growth, "process": more}
        for (kept, more), (_, growth) in zip(process, tensors, strict=True)
    ]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return table(found)


def elsewhere(model: str, **environment: str) -> list[tuple[dict[str, int], int]]:
    """Measure in a process of its own, which begins with some environment variables."""
    os.environ.update(environment)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
            return processes.submit(measured, model).result()
    finally:
        for name in environment:
            del os.environ[name]


def measured(name: str) -> list[tuple[dict[str, int], int]]:
    """Return, by number of rows, the bytes of weights and activations, and those of the growth."""
    model, tokenizer = load_model(name)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    box = GradientBox(model, tokenizer)
    box.gradients(batch(1))  # what is allocated once
    found = []
    for rows in ROWS:
        work = partial(box.gradients, batch(rows))
        kept = {"rows": rows, "weights": weights, "activations": activations(model, work)}
        found.append((kept, growth(work)))
    return found


def batch(rows: int) -> list[Targeted]:
    """Return sequences of one length, unlike each other from the first token on."""
    rng = random.Random(0)
    return [
        Targeted(
            tuple(rng.randrange(3, 2000) for _ in range(LENGTH)),
            Span(LENGTH - 16, LENGTH),
            Span(0, 32),
        )
        for _ in range(rows)
    ]


def activations(model: Any, work: Callable[[], Any]) -> int:
    """Return the bytes that autograd keeps for the way back, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(kept.values())


def growth(work: Callable[[], Any]) -> int:
    """Return by how many bytes the process grew at most while it worked."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed would be used again unseen
    # Linux keeps the highest resident size; writing 5 sets it back to the present one.
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmHWM")
    work()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return 1024 * int(line.split()[1])


def table(measured: list[dict[str, int]]) -> str:
    """Return the table in MiB, and both peaks against weights and activations."""
    rows = []
    for each in measured:
        least = each["weights"] + each["activations"]
        peaks = [each["weights"] + each[who] for who in ("tensors", "process")]
        columns = [each["weights"], each["activations"], *peaks]
        rows.append(
            [
                str(each["rows"]),
                *(f"{value / MEBIBYTE:,.0f}" for value in columns),
                *(f"{peak / least:.2f}" for peak in peaks),
            ]
        )
    header = ["rows of 256 tokens", "weights", "activations", "tensors' peak", "the process's"]
    return markdown([*header, "tensors / least", "process / least"], rows)
