"""Weights in 8 and 4 bits and LoRA adapters, for tests that skip without their packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TorchAoConfig

quantization = pytest.importorskip("torchao.quantization")
peft = pytest.importorskip("peft")

#: Wide enough for groups of 32 weights.
SIZES = {"hidden_size": 64, "intermediate_size": 128}


def lora(base: Path | Any, seed: int = 1, **settings: Any) -> Any:
    """A LoRA of random weights on a saved or loaded model, in peft's own wrapper."""
    model = base if not isinstance(base, Path) else AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(seed)
    targets = ["q_proj", "v_proj", "up_proj"]
    plain = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2, "init_lora_weights": False}
    config = peft.LoraConfig(target_modules=targets, task_type="CAUSAL_LM", **{**plain, **settings})
    return peft.get_peft_model(model, config)


def int8() -> Any:
    return TorchAoConfig(quantization.Int8WeightOnlyConfig())


def int4() -> Any:
    groups = quantization.PerGroup(32)
    return TorchAoConfig(
        quantization.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=groups)
    )


def nf4() -> Any:
    pytest.importorskip("bitsandbytes")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
