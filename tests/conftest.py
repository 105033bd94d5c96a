"""Fixtures that all tests share: tiny random models, a tiny tokenizer, the optional real assets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from dspy_greater.model import WhiteBox
from tests.families import CORE, SPECIAL

# On models this tiny a second thread waits more than it works, beside other jobs many times over.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
# Not from the network, when a test first speaks through litellm.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

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

ARCHITECTURES = tuple(CORE)
CONTEXT = 2048


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real models and tokenizers that are not part of the repository."""
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("DSPY_GREATER_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no shared assets at {folder} (set DSPY_GREATER_SHARED)")
    return folder


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


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """Byte-level BPE with a ChatML template; do not change it."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Factory: ``tiny_model(architecture, vocab_size, dtype=…)`` gives a fresh random model."""
    return make_model


@pytest.fixture(scope="session")
def white_box(tiny_tokenizer: Any) -> WhiteBox:
    """A tiny random Llama; its counts are shared by the session."""
    return WhiteBox(make_model("llama", len(tiny_tokenizer)), tiny_tokenizer, name="tiny-llama")
