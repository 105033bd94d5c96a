"""Models to measure speed on: the small one, and an untrained one of a usual size."""

from __future__ import annotations

import logging
from typing import Any

import dspy
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from examples.quickstart import SMALL_MODEL

#: 110 million parameters, 25 of them in the embedding.
UNTRAINED = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 32_000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}


#: 1.1 billion parameters, in TinyLlama's shape: for an accelerator.
BILLION = {
    **UNTRAINED,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}


class AnyText(dspy.ChatAdapter):
    """Takes whatever an untrained model writes for its reasoning, with an empty answer.

    An untrained model keeps to no format; its work is to be measured all the same.
    """

    def __init__(self) -> None:
        super().__init__(use_json_adapter_fallback=False)

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        """Return the text as the first output, and nothing as the others."""
        first, *others = signature.output_fields
        return {first: completion, **dict.fromkeys(others, "")}


def load_model(name: str) -> tuple[Any, Any]:
    """Return a model and the small model's tokenizer.

    Args:
        name: ``"small"``; ``"untrained"``, of a usual size for a CPU; ``"billion"``, untrained,
            too, of a usual size for an accelerator, in bfloat16; or ``"small-untrained"``, of the
            small one's size, which ends no text before its limit.
    """
    tokenizer = AutoTokenizer.from_pretrained(SMALL_MODEL)
    if name == "small":
        return AutoModelForCausalLM.from_pretrained(SMALL_MODEL), tokenizer
    torch.manual_seed(0)
    if name == "small-untrained":
        config = AutoConfig.from_pretrained(SMALL_MODEL)
    else:
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        config = LlamaConfig(**(BILLION if name == "billion" else UNTRAINED), **ends)
    model = LlamaForCausalLM(config)
    if name == "billion":
        model = model.to(torch.bfloat16)
    # Rows beyond the tokenizer's vocabulary cost what they cost, but are never chosen.
    model.get_input_embeddings().weight.data[len(tokenizer) :] = 0
    return model, tokenizer


def quiet() -> None:
    """Leave out DSPy's warning of every answer that ends at its limit: here they all do."""
    logging.getLogger("dspy.clients.lm").setLevel(logging.ERROR)


def adapter_for(name: str) -> dspy.Adapter:
    """Return an adapter that reads what the model writes."""
    return dspy.ChatAdapter() if name == "small" else AnyText()
