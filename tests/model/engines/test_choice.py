"""Which engine a name stands for, and which choices are refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dspy_greater.model import LoadingError, Sampling, WhiteBox, load
from dspy_greater.model.engines import continuous
from tests.support.tiny import make_model, make_tokenizer


def box(generation_backend: str, architecture: str = "llama") -> WhiteBox:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer))
    return WhiteBox(model, tokenizer, generation_backend=generation_backend)


def test_a_name_that_nobody_knows_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    known = "must be one of 'auto', 'generate', 'continuous', 'vllm', not 'sglang'"
    with pytest.raises(LoadingError, match=known):
        box("sglang")
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()  # refused before weights are looked for
    with pytest.raises(LoadingError, match=known):
        load(tmp_path, generation_backend="sglang")


def test_auto_is_generate_where_continuous_batching_does_not_pay() -> None:
    white_box = box("auto")  # on the CPU
    assert white_box.backend.name == "generate"
    assert white_box.generation_backend == "auto"
    assert WhiteBox(make_model("llama", 512), make_tokenizer()).backend.name == "generate"


def test_auto_is_continuous_where_it_pays_and_works(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(continuous, "is_worthwhile", lambda model: True)
    assert box("auto").backend.name == "continuous"
    with caplog.at_level(logging.WARNING):
        white_box = box("auto", "bloom")
    assert white_box.backend.name == "generate"
    assert "goes on without continuous batching" in caplog.text
    assert "predictions are others" in caplog.text
    assert len(white_box.generate([[5, 6]], [Sampling(3)])[0].ids) == 3


def test_the_engine_is_no_part_of_the_fingerprint() -> None:
    assert box("continuous").fingerprint == box("generate").fingerprint
