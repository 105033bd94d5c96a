"""What it costs when the output head reads a slice instead of contiguous hidden states.

After a prefill, ``generate`` hands ``hidden[:, -1:]`` to the head. The white box makes it
contiguous first; here both are timed, in one run and by turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch

from examples.benchmarks.common import markdown

#: Tokens read before the head's, so that the slice is one out of several.
PREFILL = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--rows", type=int, default=48, help="rows of the batch")
    parser.add_argument("--width", type=int, default=896, help="of a hidden state")
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=3)


def run(options: argparse.Namespace) -> str:
    """Measure and return the table."""
    rows = [product(options, getattr(torch, options.dtype))]
    return markdown(["contiguous, s", "sliced, s", "ratio"], rows)


def product(options: argparse.Namespace, dtype: torch.dtype) -> list[str]:
    """Time the head's product alone."""
    hidden = torch.randn(options.rows, PREFILL, options.width).to(dtype)
    weight = torch.randn(options.vocab, options.width).to(dtype)
    return _timed(
        lambda: torch.nn.functional.linear(hidden[:, -1:].contiguous(), weight),
        lambda: torch.nn.functional.linear(hidden[:, -1:], weight),
        options.repeats,
    )


def _timed(one: Callable[[], Any], other: Callable[[], Any], repeats: int) -> list[str]:
    """Time two ways by turns; return the best of each and how often the one goes into the other."""
    best = [float("inf")] * 2
    for _ in range(repeats):
        for index, way in enumerate((one, other)):
            began = time.perf_counter()
            way()
            best[index] = min(best[index], time.perf_counter() - began)
    return [f"{best[0]:.3f}", f"{best[1]:.3f}", f"{best[1] / best[0]:.1f}"]
