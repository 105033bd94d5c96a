"""Whether a GGUF file answers here as it does in llama.cpp.

    python -m examples.benchmark agreement --files a.gguf b.gguf

Both get the same token ids and take the likeliest token. *Next token*: where the white box reads
llama.cpp's answer, how often it would have written the same next. *Whole answers*: the part of the
first tokens that comes before the two, each left to itself, part ways. llama.cpp rounds what goes
into each product to 8 bits, so near-ties fall either way, and after one the answers differ.
*Load* is by ``local_lm``: the first time it dequantizes, later it reads what it kept.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dspy_greater import local_lm
from dspy_greater.basics.spans import Message
from dspy_greater.lm import white_box
from dspy_greater.model import Sampling, WhiteBox
from examples.benchmarks import llamacpp
from examples.benchmarks.common import markdown

TOKENS = 20
QUESTIONS = (
    "What is the capital of France?",
    "List three fruits.",
    "Write a haiku about the sea.",
    "2 + 2 * 3 =",
    "Translate 'good morning' into German.",
    "Why is the sky blue?",
    "Name a prime number above 50.",
    "Write a Python function that reverses a string.",
    "Who wrote Hamlet?",
    "Explain gravity to a child.",
    "What day comes after Monday?",
    "Give me a synonym for happy.",
    "How many legs has a spider?",
    "Describe a cat in one sentence.",
    "Is 17 even or odd?",
    "Summarize: The dog ran home because it was hungry.",
    "What is photosynthesis?",
    "Complete: Once upon a time",
    "Convert 10 km to miles.",
    "Give an antonym of cold.",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--files", type=Path, nargs="+", required=True)
    parser.add_argument("--dtype", default="auto", help="number format of the weights")


def run(options: argparse.Namespace) -> str:
    """Measure and return the table."""
    rows = []
    for file in options.files:
        began = time.perf_counter()
        model = white_box(local_lm(file, dtype=options.dtype))
        seconds = time.perf_counter() - began
        following, whole = agreement(model, file)
        rows.append(
            [file.stem, f"{100 * following:.0f} %", f"{100 * whole:.0f} %", f"{seconds:.1f}"]
        )
    return markdown(["file", "next token", "whole answers", "load, s"], rows)


def agreement(model: WhiteBox, file: Path) -> tuple[float, float]:
    """Return the agreement on next tokens and on whole answers, over all questions."""
    server = llamacpp.start(file)
    prompts = [list(model.encode([Message(role="user", content=text)]).ids) for text in QUESTIONS]
    theirs = [llamacpp.greedy(server, prompt, TOKENS)[1] for prompt in prompts]
    places = [(question, n) for question, answer in enumerate(theirs) for n in range(len(answer))]
    read = [[*prompts[question], *theirs[question][:n]] for question, n in places]
    following = model.generate(read, [Sampling(max_tokens=1)] * len(read))
    # A mark of the end is no part of a generation's ids.
    same = [
        (list(own.ids) or list(model.end_ids))[0] == theirs[question][n]
        for own, (question, n) in zip(following, places, strict=True)
    ]
    answers = model.generate(prompts, [Sampling(max_tokens=TOKENS)] * len(prompts))
    kept = sum(_common(answer.ids, their) for answer, their in zip(answers, theirs, strict=True))
    return sum(same) / len(same), kept / sum(map(len, theirs))


def _common(one: tuple[int, ...], other: list[int]) -> int:
    """Return how many tokens two answers begin alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
