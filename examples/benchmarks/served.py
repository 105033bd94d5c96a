"""Throughput of 64 requests in flight against a served copy, and of the same batched in-process."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import dspy
import torch
from dspy import lm15

from dspy_greater import local_lm
from dspy_greater.program import call_of, current_adapter, render
from dspy_greater.program.predictors import predictors_of
from examples.benchmarks.common import RESULTS, markdown, program_with
from examples.benchmarks.models import load_model, quiet
from examples.quickstart import SMALL_MODEL
from examples.serving import served
from examples.small_model.tasks import TASKS, examples

TASK = "prices"
#: Requests at a time. Servers batch what is in flight, and up to some dozens each further one is
#: nearly free.
IN_FLIGHT = 64
#: The servers, with their options; "one by one" is how `transformers serve` starts by itself.
SERVERS = {"continuous batching": ("--continuous-batching",), "one by one": (), "vllm": ()}
MAX_TOKENS = 64
REPEATS = 3


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument(
        "--model",
        choices=["small", "untrained"],
        default="small",
        help="untrained: 110 million parameters, a usual size",
    )
    parser.add_argument("--rounds", type=int, default=4, help=f"times {IN_FLIGHT} requests")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="the median counts")
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=list(SERVERS),
        help="by default those of transformers, and vllm where --vllm says where it is",
    )
    parser.add_argument("--vllm", help="vLLM's executable, in an environment of its own")


def run(options: argparse.Namespace) -> str:
    """Measure, keep the figures and return the table."""
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)
    quiet()
    servers = options.servers or [name for name in SERVERS if name != "vllm" or options.vllm]
    questions = list(islice(prompts(), options.rounds * IN_FLIGHT))
    path = RESULTS / ("served.json" if options.model == "small" else "served_untrained.json")
    measured: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    with folder_of(options.model) as folder:
        for name in servers:
            measured[name] = by_turns(name, folder, questions, options)
            path.write_text(json.dumps(measured, indent=1) + "\n")
    return table({name: measured[name] for name in servers})


@contextmanager
def folder_of(model: str) -> Iterator[Path]:
    """Yield a folder with the model, for the time of a block."""
    if model == "small":
        yield SMALL_MODEL
        return
    with TemporaryDirectory() as folder:
        for part in load_model(model):
            part.save_pretrained(folder)
        yield Path(folder)


def by_turns(
    name: str, folder: Path, questions: Sequence[lm15.Request], options: argparse.Namespace
) -> dict[str, Any]:
    """Ask the model here and a server in turn, so that what else the machine does falls on both."""
    here = local_lm(str(folder))
    executable = (options.vllm or "vllm") if name == "vllm" else None
    figures: dict[str, list[dict[str, float]]] = {"in-process": [], name: []}
    with served(folder, options=SERVERS[name], vllm=executable) as url:
        # A queue of 64 before a server that answers one by one is long.
        settings = {"num_retries": 0, "timeout": 600}
        there = dspy.LM(f"openai/{folder.name}", api_base=url, api_key="none", **settings)
        for lm in (here, there):
            ask_all(lm, questions[:IN_FLIGHT])  # what is loaded once
        for _ in range(options.repeats):
            figures["in-process"].append(ask_all(here, questions))
            figures[name].append(ask_all(there, questions))
    return {
        "requests": len(questions),
        "in_flight": IN_FLIGHT,
        "max_tokens": MAX_TOKENS,
        "threads_of_torch": torch.get_num_threads(),
        "cores": os.cpu_count(),
        **{who: middle(each) for who, each in figures.items()},
    }


def prompts() -> Iterator[lm15.Request]:
    """Yield one prompt of the task after the other, without the model's name."""
    task = TASKS[TASK]
    program = program_with(task, task.good_instruction)
    train = examples(TASK, "train", 8, 0)
    (predictor,) = predictors_of(program, train)
    for number in range(10**6):
        for example in examples(TASK, "test", IN_FLIGHT, number):
            messages = render(current_adapter(), call_of(predictor, example)).messages
            yield lm15.request_from_openai_chat(
                {
                    "model": "any",
                    "messages": list(messages),
                    "temperature": 0.0,
                    "max_tokens": MAX_TOKENS,
                }
            )


def ask_all(lm: dspy.LM, questions: Sequence[lm15.Request]) -> dict[str, float]:
    """Ask, with so many requests in flight, and return what came back in a second."""

    def ask(question: lm15.Request) -> int:
        response = lm(replace(question, model=lm.model), cache=False)
        return int(response.usage.output_tokens)

    began = time.perf_counter()
    with ThreadPoolExecutor(max_workers=IN_FLIGHT) as pool:
        tokens = sum(pool.map(ask, questions))
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "completions_per_second": len(questions) / seconds,
    }


def middle(repeats: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: round(median(each[name] for each in repeats), 2) for name in repeats[0]}


def table(measured: dict[str, Any]) -> str:
    """Return decoded tokens and completions a second, and the server's share of those here.

    The share is of completions: of an answer's tokens servers count the one that ends it, too.
    """
    rows = []
    for name in SERVERS:
        if name not in measured:
            continue
        here, there = measured[name]["in-process"], measured[name][name]
        rows.append(
            [
                name,
                *(f"{who['tokens_per_second']:,.0f}" for who in (here, there)),
                *(f"{who['completions_per_second']:.1f}" for who in (here, there)),
                f"{there['completions_per_second'] / here['completions_per_second']:.2f}",
            ]
        )
    header = ["server", "tokens/s here", "there", "completions/s here", "there", "there / here"]
    return markdown(header, rows)
