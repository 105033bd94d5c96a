"""Pretrained models as GGUF files, here and behind llama.cpp.

They are no part of the repository: DSPY_GREATER_MODELS names the folder that `.ci/run` fetches
them into where it can. What is not there is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest
import torch

from dspy_greater import GreaterTeleprompter, local_lm
from dspy_greater.lm import white_box

pytestmark = pytest.mark.slow

NAMES = ("smollm2", "gemma270", "qwen05", "qwen15")
KINDS = {"cat": "animal", "oak": "plant", "dog": "animal", "rose": "plant", "cow": "animal"}


@pytest.fixture(scope="module", autouse=True)
def _machine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """As many threads as there are cores, these models are not tiny; and a cache for the tests."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def file() -> Callable[[str], Path]:
    """Returns a model's GGUF file by its name."""

    def find(name: str) -> Path:
        folder = os.environ.get("DSPY_GREATER_MODELS")
        if not folder:
            pytest.skip("no pretrained models (set DSPY_GREATER_MODELS)")
        path = Path(folder) / "gguf" / f"{name}.gguf"
        if not path.is_file():
            pytest.skip(f"no {path}")
        return path

    return find


@pytest.fixture(scope="module")
def llamacpp() -> Any:
    """Starts servers; see `examples.benchmarks.llamacpp`."""
    pytest.importorskip("xllamacpp")
    from examples.benchmarks import llamacpp

    return llamacpp


def server_lm(llamacpp: Any, file: Path) -> dspy.LM:
    """llama.cpp's own server with a file, as DSPy reaches any."""
    server = llamacpp.start(file)  # one at a time: what shares a batch rounds each other's sums
    lm = dspy.LM(
        "openai/model",
        api_base=llamacpp.address(server),
        api_key="none",
        temperature=0.0,
        max_tokens=24,
        cache=False,
    )
    lm.server = server  # as long as the LM lives
    return lm


def train() -> list[dspy.Example]:
    return [dspy.Example(word=w, kind=k).with_inputs("word") for w, k in KINDS.items()]


def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    return example.kind in str(prediction.kind).lower()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_answers_as_in_llama_cpp_and_gives_gradients(
    name: str, file: Callable[[str], Path], llamacpp: Any
) -> None:
    from examples.benchmarks.agreement import agreement

    model = white_box(local_lm(file(name)))
    following, _ = agreement(model, file(name))
    assert following >= 0.9
    inner = model.model
    ids = torch.tensor([list(model.encode([{"role": "user", "content": "2 + 2 ="}]).ids)])
    embedded = inner.get_input_embeddings()(ids).detach().requires_grad_()
    inner(inputs_embeds=embedded).logits.float().log_softmax(-1)[0, -1].max().backward()
    assert embedded.grad is not None
    assert embedded.grad.isfinite().all()
    assert embedded.grad.abs().sum() > 0


def test_a_whole_compile_runs_on_a_llama_cpp_server(
    file: Callable[[str], Path], llamacpp: Any
) -> None:
    there = server_lm(llamacpp, file("smollm2"))
    here = local_lm(file("smollm2"), max_tokens=24)
    teleprompter = GreaterTeleprompter(
        metric=metric, lm=here, max_steps=1, target_lm=there, progress=False
    )
    compiled = teleprompter.compile(
        dspy.Predict("word -> kind"), trainset=train()[:3], valset=train()[3:]
    )
    record = compiled.detailed_results
    assert record.target_usage["openai/model"]["calls"] >= record.total_calls > 0
    assert record.candidates


CLASSIFIER = """
import sys
from typing import Literal

import dspy
from dspy_greater import GreaterTeleprompter, local_lm

lm = local_lm(sys.argv[1], max_tokens=24)
dspy.configure(lm=lm)
kinds = {"cat": "animal", "oak": "plant", "dog": "animal", "rose": "plant", "cow": "animal"}
examples = [dspy.Example(word=w, kind=k).with_inputs("word") for w, k in kinds.items()]
program = dspy.Predict(dspy.Signature({
    "word": (str, dspy.InputField()), "kind": (Literal["animal", "plant"], dspy.OutputField()),
}))
teleprompter = GreaterTeleprompter(metric=lambda e, p, t=None: e.kind == p.kind, max_steps=2)
teleprompter.compile(program, trainset=examples[:3], valset=examples[3:])
"""


@pytest.mark.parametrize("name", NAMES[:1])
def test_the_console_of_a_compile_stays_short(name: str, file: Callable[[str], Path]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", CLASSIFIER, str(file(name))],
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    # A bar draws over itself, behind carriage returns.
    lines = [line.rpartition("\r")[2] for line in found.stderr.splitlines()]
    # Nor can the package help what torch and its parts say when they are imported.
    others = ("%|", "torchao", "torch/utils")
    told = [line for line in lines if line.strip() and not any(o in line for o in others)]
    assert len(told) <= 10, found.stderr
    assert "runs of the program, " in told[-2]
    assert told[-1].startswith("the record: detailed_results")
