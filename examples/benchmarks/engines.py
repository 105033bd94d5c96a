"""How fast each engine generates, beside plain generate and in the same run."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import median

import dspy

from dspy_greater.model import Sampling, WhiteBox, load
from dspy_greater.model.requests import Generation
from examples.benchmarks.common import markdown
from examples.benchmarks.models import adapter_for, quiet
from examples.benchmarks.speed import SEED, TASK, prompt_of, seconds
from examples.quickstart import SMALL_MODEL
from examples.small_model.tasks import examples

REPEATS = 5
#: Parts of the longest text that rows may have, in turn, where their lengths differ.
UNEVEN = (1.0, 0.25, 0.5, 0.1)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", default=str(SMALL_MODEL), help="folder or hub id")
    parser.add_argument("--device", help="the best there is by default")
    parser.add_argument("--backends", nargs="+", default=["continuous"])
    parser.add_argument("--rows", type=int, default=64, help="prompts in one call")
    parser.add_argument("--max-tokens", type=int, default=128, help="of the longest text")


def run(options: argparse.Namespace) -> str:
    """Time each engine and plain generate in turn, and return the table."""
    quiet()
    boxes = {
        name: load(options.model, device=options.device, generation_backend=name)
        for name in ("generate", *options.backends)
    }
    own = Path(options.model) == SMALL_MODEL
    with dspy.context(adapter=adapter_for("small") if own else dspy.ChatAdapter()):
        asked = examples(TASK, "train", options.rows, SEED)
        prompts = [prompt_of(boxes["generate"], example) for example in asked]
    lengths = {
        "alike": [options.max_tokens] * options.rows,
        "uneven": [
            max(1, int(UNEVEN[row % len(UNEVEN)] * options.max_tokens))
            for row in range(options.rows)
        ],
    }
    rows = [
        row
        for kind, most in lengths.items()
        for row in compared(boxes, prompts, [Sampling(count) for count in most], kind)
    ]
    return markdown(["engine", "limits", "tokens/s", "times generate's", "same texts"], rows)


def compared(
    boxes: dict[str, WhiteBox],
    prompts: list[tuple[int, ...]],
    samplings: list[Sampling],
    kind: str,
) -> list[list[str]]:
    """Return a row for each engine: all take turns, and the middle one of their times counts."""
    texts: dict[str, list[Generation]] = {
        name: box.generate(prompts, samplings) for name, box in boxes.items()
    }
    times: dict[str, list[float]] = {name: [] for name in boxes}
    for _ in range(REPEATS):
        for name, box in boxes.items():
            times[name].append(seconds(partial(box.generate, prompts, samplings)))
    rates = {
        name: sum(len(each.ids) for each in texts[name]) / median(times[name]) for name in boxes
    }
    same = {
        name: sum(
            ours.ids == plain.ids
            for ours, plain in zip(texts[name], texts["generate"], strict=True)
        )
        for name in boxes
    }
    return [
        [
            name,
            kind,
            f"{rates[name]:.0f}",
            f"{rates[name] / rates['generate']:.2f}",
            f"{same[name]} of {len(prompts)}",
        ]
        for name in boxes
    ]
