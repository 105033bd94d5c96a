"""Products of linear layers on this machine: torch's own beside those of the white box.

In float32, by rows, layer after layer of one size. In any number format, the output head on the
slice that ``generate`` hands it after a prefill, and on contiguous hidden states, as it is here.
Ways are timed by turns, and the best of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from dspy_greater.model import products
from examples.benchmarks.common import markdown

#: Rows of a decoding step, and of prompts.
ROWS = (1, 2, 4, 8, 16, 64, 256, 1024)
#: Tokens read before the head's, so that the slice is one out of several.
PREFILL = 8


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--rows", type=int, default=48, help="rows that the head reads")
    parser.add_argument("--width", type=int, default=896, help="of a hidden state")
    parser.add_argument("--inner", type=int, default=4864, help="width within a layer")
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--dtype", default="bfloat16", help="of the head")
    parser.add_argument("--repeats", type=int, default=3)


def run(options: argparse.Namespace) -> str:
    """Measure and return the tables."""
    head = markdown(
        ["the head: contiguous, ms", "sliced, ms", "ratio"],
        [of_head(options, getattr(torch, options.dtype))],
    )
    if not products.available():
        return head
    layers = [[f"{rows:,}", *of_layer(options, rows)] for rows in ROWS]
    return f"{markdown(['rows, float32', 'ours, ms', 'own, ms', 'ratio'], layers)}\n\n{head}"


def of_layer(options: argparse.Namespace, rows: int) -> list[str]:
    """Time a layer's way up and down again, as the white box has it and as torch does."""
    up = nn.Linear(options.width, options.inner, bias=False)
    down = nn.Linear(options.inner, options.width, bias=False)
    values = torch.randn(rows, options.width)
    with torch.no_grad():
        return _timed(
            lambda: products.product(down, products.product(up, values)),
            lambda: down(up(values)),
            options.repeats,
        )


def of_head(options: argparse.Namespace, dtype: torch.dtype) -> list[str]:
    """Time the head's product alone."""
    hidden = torch.randn(options.rows, PREFILL, options.width).to(dtype)
    weight = torch.randn(options.vocab, options.width).to(dtype)
    return _timed(
        lambda: nn.functional.linear(hidden[:, -1:].contiguous(), weight),
        lambda: nn.functional.linear(hidden[:, -1:], weight),
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
    return [f"{1000 * best[0]:.1f}", f"{1000 * best[1]:.1f}", f"{best[1] / best[0]:.1f}"]
