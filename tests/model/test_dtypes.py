"""The number format, where none is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dspy_greater.model import dtypes, load
from dspy_greater.model.dtypes import multiplies_bf16, preferred
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import model_of

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("own", "device", "bf16", "wanted"),
    [
        (torch.bfloat16, CPU, True, torch.bfloat16),
        (torch.float16, CPU, True, torch.bfloat16),
        (torch.bfloat16, CPU, False, torch.float32),
        (torch.float32, CPU, True, torch.float32),
        (None, CPU, True, torch.float32),
        (torch.float16, GPU, False, torch.float16),
        (torch.bfloat16, None, False, torch.bfloat16),
        (None, GPU, True, None),
    ],
)
def test_a_cpu_halves_only_what_it_multiplies_fast(
    own: torch.dtype | None,
    device: torch.device | None,
    bf16: bool,
    wanted: torch.dtype | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dtypes, "multiplies_bf16", lambda: bf16)
    assert preferred(own, device) == wanted


def test_a_cpu_is_asked_for_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, wanted in (({"avx512_bf16": True}, True), ({"avx512_bf16": False}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found, raising=False)
        assert multiplies_bf16() is wanted
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older torch
    assert multiplies_bf16() is False


def test_a_checkpoint_in_half_precision_is_loaded_as_the_cpu_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer), torch.bfloat16).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for bf16, wanted in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(dtypes, "multiplies_bf16", lambda bf16=bf16: bf16)
        for how in ({}, {"dtype": "auto"}, {"dtype": None}):
            found = load(tmp_path, device="cpu", **how)
            assert model_of(found).dtype == found.dtype == wanted
    assert "bfloat16 on cpu" in repr(load(tmp_path, device="cpu", dtype="bfloat16"))
