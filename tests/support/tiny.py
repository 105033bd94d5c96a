"""Tiny random models and a tiny tokenizer, the same at every call."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.support.families import SPECIAL

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Enough text for merges of common words and of the adapters' markup.
CORPUS = [
    "Your input fields are:\n1. `question` (str):\nYour output fields are:\n1. `reasoning` (str):",
    "2. `answer` (str):\nAll interactions will be structured in the following way, with the "
    "appropriate values filled in.\n[[ ## question ## ]]\n{question}\n\n[[ ## answer ## ]]",
    "[[ ## reasoning ## ]]\n{reasoning}\n\n[[ ## completed ## ]]\nIn adhering to this structure, "
    "your objective is: Given the fields `question`, produce the fields `answer`.",
    "Respond with the corresponding output fields, starting with the field `[[ ## reasoning ## ]]`",
    "Solve the problem step by step. Think carefully, then give the final answer as a number.",
    "system\nuser\nassistant\nThe quick brown fox jumps over the lazy dog. What is 2 + 3? It is 5.",
]

CONTEXT = 2048


def byte_level_tokenizer(corpus: list[str] = CORPUS, vocab_size: int = 512) -> Tokenizer:
    """A small byte-level BPE tokenizer, the same at every call."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def make_tokenizer() -> Any:
    """A fast tokenizer with a ChatML template."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level_tokenizer(),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def make_model(
    architecture: str, vocab_size: int = 512, dtype: torch.dtype = torch.float32, **changes: Any
) -> Any:
    """A random model of two layers; the same weights at every call."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        # Large enough for predictions that are far from uniform.
        "initializer_range": 0.2,
    }
    own = {**sizes, **SPECIAL[architecture]}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    config = AutoConfig.for_model(
        architecture,
        vocab_size=vocab_size,
        **ends,
        **{name: value for name, value in own.items() if value is not None and name not in changes},
        **changes,
    )
    # The fast experts have no float64.
    experts = {"experts_implementation": "eager"} if dtype == torch.float64 else {}
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    try:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, **experts)
    finally:
        torch.random.set_rng_state(state)
    return model.eval()
