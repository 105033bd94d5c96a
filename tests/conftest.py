"""Fixtures that all tests share: tiny random models, a tiny tokenizer, the optional real assets."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.published_schedule.white_box import GradientBox
from tests.support.tiny import make_model, make_tokenizer

# On models this tiny a second thread waits more than it works, beside other jobs many times over.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
# Not from the network, when a test first speaks through litellm.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage what stays anyway: modules, classes, the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real models and tokenizers that are not part of the repository."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DSPY_GREATER_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no shared assets at {folder} (set DSPY_GREATER_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level BPE with a ChatML template; do not change it."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Factory: ``tiny_model(architecture, vocab_size, dtype=…)`` gives a fresh random model."""
    return make_model


@pytest.fixture(scope="session")
def white_box(tiny_tokenizer: Any) -> GradientBox:
    """A tiny random Llama; its counts are shared by the session."""
    model = make_model("llama", len(tiny_tokenizer))
    return GradientBox(model, tiny_tokenizer, name="tiny-llama")
