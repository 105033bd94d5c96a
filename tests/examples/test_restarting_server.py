"""Rollouts on a real OpenAI-compatible server of the small model on this machine.

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
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from dspy_greater.running.served import ServedError
from examples import serving
from examples.quickstart import SMALL_MODEL
from examples.small_model.tasks import TASKS, WEAK_INSTRUCTION, examples

pytestmark = pytest.mark.slow

TASK = TASKS["letters"]
CONFIG = VerifiedConfig(
    max_steps=2, starts=2, library=False, asked=2, instructions=(TASK.good_instruction,)
)


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
            **{"api_base": url, "api_key": "any", "engine": "litellm", **settings},
        )


def of_transformers(tmp_path_factory: pytest.TempPathFactory) -> Server:
    if serving.missing():
        pytest.skip(f"the server needs {', '.join(serving.missing())}")
    return Server(serving.sampling(SMALL_MODEL, tmp_path_factory.mktemp("served")))


def of_vllm(tmp_path_factory: pytest.TempPathFactory) -> Server:
    if "DSPY_GREATER_VLLM" not in os.environ:
        pytest.skip("DSPY_GREATER_VLLM names no executable of vLLM's")
    return Server(SMALL_MODEL, os.environ["DSPY_GREATER_VLLM"])


@pytest.fixture(scope="module", params=[of_transformers, of_vllm], ids=["transformers", "vllm"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    server: Server = request.param(tmp_path_factory)
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


def test_a_server_of_other_weights_is_refused(server: Server) -> None:
    model = AutoModelForCausalLM.from_pretrained(SMALL_MODEL)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.1 * weights.std() * torch.randn_like(weights)
    other = local_lm((model, AutoTokenizer.from_pretrained(SMALL_MODEL)), max_tokens=40)
    with pytest.raises(ServedError, match="it holds other weights"):
        compiled(other, rollout_lm=server.lm())


def test_a_run_on_a_server_that_restarts_ends_as_well_as_one_without(server: Server) -> None:
    restarting: list[threading.Thread] = []
    seen = count()

    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
        if next(seen) == 20:  # in the middle of a race, with requests under way
            restarting.append(threading.Thread(target=server.restart))
            restarting[0].start()
        return TASK.metric(example, prediction)

    white_box = local_lm(str(SMALL_MODEL), max_tokens=40)
    there = compiled(white_box, metric, rollout_lm=server.lm(num_retries=9))
    restarting[0].join()
    here = compiled(white_box)
    (served,), (local,) = there.outcomes, here.outcomes
    assert served.score_after >= local.score_after > local.score_before
    assert there.rollout_usage["openai/model"]["calls"] >= there.total_calls
