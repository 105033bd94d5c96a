"""Runs of the program on a real OpenAI-compatible server of the small model on this machine.

With vLLM as well where DSPY_GREATER_VLLM names its executable, in an environment of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from examples import serving
from examples.quickstart import SMALL_MODEL
from examples.small_model.tasks import TASKS, WEAK_INSTRUCTION, examples

pytestmark = pytest.mark.slow

TASK = TASKS["letters"]
CONFIG = VerifiedConfig(
    max_steps=2, starts=2, library=False, examples=0, asked=2, instructions=(TASK.good_instruction,)
)
#: How the server is asked, as the white box is here.
AS_HERE = {"temperature": 0.0, "max_tokens": 40, "cache": False}


class Server:
    """The small model behind an address that stays the same, whatever becomes of the server."""

    def __init__(self, folder: Path, vllm: str | None = None) -> None:
        self.folder, self.port, self.vllm = folder, serving.free_port(), vllm
        self._running = ExitStack()

    def start(self) -> None:
        self._running.enter_context(serving.served(self.folder, port=self.port, vllm=self.vllm))

    def kill(self) -> None:
        self._running.close()

    def restart(self) -> None:
        self.kill()
        self.start()

    def lm(self, **settings: Any) -> dspy.LM:
        url = f"http://127.0.0.1:{self.port}/v1"
        return dspy.LM(
            f"openai/{self.folder.name}",
            **{"api_base": url, "api_key": "any", "engine": "litellm", **AS_HERE, **settings},
        )


def of_transformers() -> Server:
    if serving.missing():
        pytest.skip(f"the server needs {', '.join(serving.missing())}")
    return Server(SMALL_MODEL)


def of_vllm() -> Server:
    if "DSPY_GREATER_VLLM" not in os.environ:
        pytest.skip("DSPY_GREATER_VLLM names no executable of vLLM's")
    return Server(SMALL_MODEL, os.environ["DSPY_GREATER_VLLM"])


@pytest.fixture(scope="module", params=[of_transformers, of_vllm], ids=["transformers", "vllm"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server: Server = request.param()
    server.start()
    yield server
    server.kill()


def compiled(white_box: dspy.LM, metric: Any = TASK.metric, **knobs: Any) -> Any:
    program = TASK.program()
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(WEAK_INSTRUCTION)
    teleprompter = GreaterTeleprompter(
        metric, lm=white_box, schedule=CONFIG, progress=False, **knobs
    )
    with dspy.context(lm=white_box):
        result = teleprompter.compile(
            program,
            trainset=examples(TASK.name, "train", 8, 0),
            valset=examples(TASK.name, "validation", 16, 0),
        )
    return result.detailed_results


def test_a_run_on_a_server_that_restarts_ends_as_well_as_one_without(server: Server) -> None:
    restarting: list[threading.Thread] = []
    seen = count()

    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
        if next(seen) == 20:  # in the middle of a race, with requests under way
            restarting.append(threading.Thread(target=server.restart))
            restarting[0].start()
        return TASK.metric(example, prediction)

    white_box = local_lm(str(SMALL_MODEL), max_tokens=40)
    there = compiled(white_box, metric, target_lm=server.lm(num_retries=9), num_threads=64)
    restarting[0].join()
    here = compiled(white_box)
    (served,), (local,) = there.outcomes, here.outcomes
    assert served.score_after >= local.score_after > local.score_before
    assert there.target_usage["openai/model"]["calls"] >= there.total_calls
