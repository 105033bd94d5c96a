"""The number format, where none is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dspy_greater.model import load
from tests.support.tiny import make_model, make_tokenizer

FAST, SLOW = {"avx512_bf16": True}, {"avx512_bf16": False, "avx2": True}


@pytest.mark.parametrize(
    ("own", "capabilities", "wanted"),
    [
        (torch.bfloat16, FAST, torch.bfloat16),
        (torch.float16, FAST, torch.bfloat16),
        (torch.bfloat16, {"bf16": True}, torch.bfloat16),  # Arm
        (torch.bfloat16, SLOW, torch.float32),
        (torch.float32, FAST, torch.float32),
    ],
)
def test_a_cpu_halves_only_what_it_multiplies_fast(
    own: torch.dtype,
    capabilities: dict[str, Any],
    wanted: torch.dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer), own).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for how in ({}, {"dtype": "auto"}, {"dtype": None}):
        found = load(tmp_path, device="cpu", **how)
        assert found.model.dtype == found.dtype == wanted
    assert "float16 on cpu" in repr(load(tmp_path, device="cpu", dtype="float16"))


def test_an_older_torch_cannot_tell_and_takes_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer), torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert load(tmp_path, device="cpu").dtype == torch.float32
