"""Compiles in several processes: what all of them end with, whatever becomes of one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import dspy
import torch

from dspy_greater import StepEvent, local_lm
from dspy_greater.model import WhiteBox
from examples.quickstart import SMALL_MODEL
from tests.processes import report
from tests.small_compile import result_of
from tests.support.compiling import VERIFIED, examples, lm_of, small

GRADIENTS = WhiteBox._gradients_batch
RANK = int(os.environ["RANK"])


def main() -> None:
    folder = Path(sys.argv[1])
    trained, lm = local_lm(SMALL_MODEL, max_tokens=40), lm_of()
    found: dict[str, Any] = {"results": [result_of(trained, seed) for seed in range(5)]}
    cases: dict[str, Callable[[], dspy.Module]] = {
        "other data": lambda: compiled(lm, count=6 + RANK),
        "no white box": lambda: compiled(lm if RANK == 0 else dspy.LM("openai/none")),
        "metric": lambda: compiled(trained, metric=failing, max_errors=2),
        "callback": lambda: compiled(lm, callback=raising),
        "gradient": broken(lambda: compiled(lm, schedule=VERIFIED)),
        "log_dir": lambda: compiled(lm, log_dir=folder / "log"),
        "resumed": lambda: compiled(lm, log_dir=folder / "log"),
        "Ctrl-C": lambda: compiled(lm, callback=Interrupting(folder), max_steps=5),
    }
    found |= {name: outcome(case) for name, case in cases.items()}
    report(found)


def compiled(lm: dspy.LM, count: int = 6, **knobs: Any) -> dspy.Module:
    program = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=lm):
        return small(**knobs).compile(program, trainset=examples(count))


def outcome(case: Callable[[], dspy.Module]) -> dict[str, Any]:
    """What a case ended with: an error, or its record without how long it took."""
    try:
        record = case().detailed_results.to_dict()
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    stopped = [each["stopped"] for each in record["outcomes"]]
    return {"record": record, "stopped": stopped, "calls": record["total_calls"]}


def failing(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    raise ValueError("no score for this")


def raising(event: StepEvent) -> bool:
    raise LookupError("no more of that")


def broken(case: Callable[[], dspy.Module]) -> Callable[[], dspy.Module]:
    """The case where the follower's device gives no gradients."""

    def fail(self: WhiteBox, *args: Any, **settings: Any) -> list[Any]:
        raise RuntimeError("this device is broken")

    def run() -> dspy.Module:
        with mock.patch.object(WhiteBox, "_gradients_batch", fail if RANK else GRADIENTS):
            return case()

    return run


class Interrupting:
    """Ctrl-C in a terminal: every process gets it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / f"{RANK}.pid").write_text(str(os.getpid()))

    def __call__(self, event: StepEvent) -> bool:
        for file in sorted(self.folder.glob("*.pid"), reverse=True):
            os.kill(int(file.read_text()), signal.SIGINT)
        return False


if __name__ == "__main__":
    # A shell that starts a job in the background lets it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    main()
