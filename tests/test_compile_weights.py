"""Quantized weights and LoRA adapters go through a whole compile, as plain models do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dspy_greater import local_lm
from tests.model.test_weights import SIZES, int4, int8, lora
from tests.support.tiny import make_model, make_tokenizer
from tests.test_families import check_every_stage, compiled_with

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes varied text, and an adapter beside it."""
    path = tmp_path_factory.mktemp("weights") / "base"
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer), initializer_range=0.1, **SIZES).save_pretrained(path)
    tokenizer.save_pretrained(path)
    lora(path).save_pretrained(path.parent / "adapter")
    return path


@pytest.mark.parametrize("config", [int8, int4])
def test_quantized_weights_go_through_every_stage_of_a_compile(config: Any, folder: Path) -> None:
    lm = local_lm(folder, device="cpu", quantization_config=config(), max_tokens=5, cache=False)
    check_every_stage(compiled_with(lm), lm)


def test_an_adapter_goes_through_every_stage_of_a_compile(folder: Path) -> None:
    lm = local_lm(folder.parent / "adapter", device="cpu", max_tokens=5, cache=False)
    check_every_stage(compiled_with(lm), lm)
