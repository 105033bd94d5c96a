"""Where the time goes, what the machine could do at best, and how far ahead of others we are.

    python -m examples.benchmark speed
    python -m examples.benchmark speed --model FOLDER --task banking77 --direct
    python -m examples.benchmark speed --model FOLDER --task banking77 --direct --published

With --task it is a compile on a real model that is looked into, pass by pass (see `profile`); with
--published, too, what a hundred steps of the published code would take (see `hundred_steps`).
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import dspy
import torch

from dspy_greater import GreaterTeleprompter, local_lm
from dspy_greater.basics.spans import Span
from dspy_greater.model import Sampling, Targeted, WhiteBox
from dspy_greater.program import call_of, current_adapter, render
from dspy_greater.program.predictors import predictors_of
from examples.benchmarks import hundred_steps, profile
from examples.benchmarks.against_published import SEED, against_published
from examples.benchmarks.common import (
    Place,
    default_instruction,
    markdown,
    place_of,
    program_with,
)
from examples.benchmarks.machine import Costs, Machine, seconds
from examples.benchmarks.models import adapter_for, load_model, quiet
from examples.published_schedule.white_box import GradientBox
from examples.small_model.tasks import TASKS, examples
from examples.tasks import NAMES

TASK = "arithmetic"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", default="small", help="or untrained, billion, a folder")
    parser.add_argument("--task", choices=NAMES, help="of a folder's model: see profile")
    parser.add_argument("--name", help="what it is called in the figures")
    parser.add_argument("--data", help="folder of the published data")
    parser.add_argument("--direct", action="store_true", help="no reasoning before the answer")
    parser.add_argument("--runs", type=int, help="max_metric_calls of its compile")
    parser.add_argument("--published", action="store_true", help="the published code's steps")
    parser.add_argument("--device", default="cpu", help="cuda, for one")
    parser.add_argument("--examples", type=int, default=48, help="training examples")
    parser.add_argument("--steps", type=int, default=4, help="steps of our schedule")
    parser.add_argument("--published-steps", type=int, default=2, help="of them, as published")
    parser.add_argument("--max-tokens", type=int, default=200, help="of an answer")
    parser.add_argument("--json", type=Path, help="write all figures to this file")


def run(options: argparse.Namespace) -> str:
    """Measure and return the tables."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    quiet()
    if options.task:
        looked_at = hundred_steps if options.published else profile
        figures = looked_at.measured(options)
        if options.json:
            options.json.write_text(json.dumps(figures, indent=2) + "\n")
        return looked_at.report(figures)
    model, tokenizer = load_model(options.model)
    model = model.to(options.device)
    machine = Machine.measure(torch.device(options.device), model.dtype)
    with dspy.context(adapter=adapter_for(options.model)):
        figures = {
            "machine": vars(machine),
            "steps": against_published(
                model, tokenizer, machine, options, partial(place, options=options)
            ),
            "kernels": kernels(model, GradientBox(model, tokenizer), machine, options.max_tokens),
        }
        if options.model == "small":
            figures["compile"] = light_compile(model, tokenizer, machine, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return report(figures)


def place(box: WhiteBox, options: argparse.Namespace) -> Place:
    """Return where the task's predictor is searched, over a white box."""
    lm = local_lm(box, max_tokens=options.max_tokens, cache=False)
    return place_of(TASK, default_instruction(TASKS[TASK]), options.examples, SEED, lm)


def light_compile(
    model: Any, tokenizer: Any, machine: Machine, options: argparse.Namespace
) -> dict[str, Any]:
    """Compile once and return each phase's seconds beside the least that it could take."""
    task = TASKS[TASK]
    lm = local_lm((model, tokenizer), max_tokens=options.max_tokens, cache=False)
    with dspy.context(lm=lm):
        compiled = GreaterTeleprompter(metric=task.metric, seed=SEED, progress=False).compile(
            program_with(task),
            trainset=examples(TASK, "train", 50, SEED),
            valset=examples(TASK, "validation", 50, SEED),
        )
    record = compiled.detailed_results
    floors = Costs.of(model).floors(record.counts, machine)
    spent = {
        name: {"seconds": spent, "floor": floors.get(name, 0.0)}
        for name, spent in record.phases.items()
    }
    return {"seconds": record.seconds, "counts": record.counts, "phases": spent}


def kernels(model: Any, box: GradientBox, machine: Machine, length: int) -> dict[str, float]:
    """Return the shares of the machine's rate that scoring and gradients reach, and decoding.

    Decoding is in tokens a second, of one row and of 64, measured and at the machine's own rates.
    """
    costs, rng = Costs.of(model), random.Random(SEED)
    prompts = [prompt_of(box, example) for example in examples(TASK, "train", 64, SEED)]
    box.generate(prompts[:1], [Sampling(8)])

    def sequence(size: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 2000) for _ in range(size))

    items = [Targeted(sequence(256), Span(240, 256), Span(0, 32)) for _ in range(16)]
    shares = {}
    for name, work in (("score", box.log_probs), ("gradient", box.gradients)):
        before = box.counts.snapshot()
        spent = seconds(partial(work, items))
        shares[name] = costs.floors(asdict(box.counts - before), machine)[name] / spent
    rates = {}
    for rows in (1, 64):
        before = box.counts.snapshot()
        spent = seconds(partial(box.generate, prompts[:rows], [Sampling(length)] * rows))
        done = asdict(box.counts - before)
        floor = costs.floors(done, machine)["generate"]
        rates[f"decode_{rows}"] = done["tokens_decoded"] / spent
        rates[f"decode_{rows}_at_best"] = done["tokens_decoded"] / floor
    return {**shares, **rates}


def prompt_of(box: WhiteBox, example: dspy.Example) -> tuple[int, ...]:
    """Return what the task's program asks about an example, with the hand-written instruction."""
    program = program_with(TASKS[TASK], TASKS[TASK].good_instruction)
    (predictor,) = predictors_of(program, [example])
    return box.encode(render(current_adapter(), call_of(predictor, example)).messages).ids


def report(figures: dict[str, Any]) -> str:
    """Return the tables."""
    steps, kernel, machine = figures["steps"], figures["kernels"], figures["machine"]
    published = steps["published_seconds"]
    rows = [
        [
            name,
            f"{steps[f'{key}_seconds']:.3f}",
            f"{published / steps[f'{key}_seconds']:.1f}",
            f"{published / steps[f'{key}_floor']:.1f}" if f"{key}_floor" in steps else "",
        ]
        for name, key in (("as published", "published"), ("published schedule, ours", "paper"))
    ]
    header = ["way", "seconds per edit tried", "times as fast", "at the machine's rates"]
    tables = [
        f"{machine['flops'] / 1e9:.0f} GFLOP/s, {machine['bandwidth'] / 1e9:.1f} GB/s, "
        f"{machine['threads']} threads",
        markdown(header, rows),
        f"largest difference of a candidate's loss: {steps['largest_difference']:.1e}",
        f"scoring at {kernel['score']:.0%} and gradients at {kernel['gradient']:.0%} of the "
        f"matrix product's rate; decoding {kernel['decode_1']:.0f} tokens/s alone, "
        f"{kernel['decode_64']:.0f} in a batch of 64 "
        f"({kernel['decode_64'] / kernel['decode_1']:.1f} times; "
        f"{kernel['decode_64_at_best'] / kernel['decode_1_at_best']:.1f} times, were both at the "
        "machine's rates)",
    ]
    if "compile" in figures:
        whole = figures["compile"]["seconds"]
        published_steps = whole / (published * steps["published_edits_a_step"])
        tables.append(
            f"a light compile: {whole:.1f} s, the time of {published_steps:.1f} published steps"
        )
        rows = [
            [
                name,
                f"{each['seconds']:.2f}",
                f"{each['floor']:.2f}" if each["floor"] else "",
                f"{each['seconds'] / each['floor']:.1f}" if each["floor"] else "",
            ]
            for name, each in figures["compile"]["phases"].items()
        ]
        tables.append(markdown(["phase", "seconds", "floor", "gap"], rows))
    return "\n\n".join(tables)
