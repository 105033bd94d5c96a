"""Checks of a loaded model and tokenizer, made before any long work."""

from __future__ import annotations

from typing import Any

import torch

from dspy_greater.model.errors import ModelError, TokenizerError
from dspy_greater.model.forward import Forward, alike, at_least_float32

# How configurations call the number of positions.
CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "n_ctx")
UNLIMITED = 1_000_000_000


def unwrapped(model: Any) -> Any:
    """Return the model out of peft's wrapper, which hides what ``forward`` takes."""
    if not (hasattr(model, "peft_config") and hasattr(model, "get_base_model")):
        return model
    if any(config.is_prompt_learning for config in model.peft_config.values()):
        raise ModelError(
            "The adapter is a learned prompt in front of the text, and an instruction cannot be "
            "searched behind it. Use an adapter of layers, such as LoRA, or the base model."
        )
    return model.get_base_model()


def check_config(config: Any) -> None:
    """Refuse encoder-decoders; needs no weights."""
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"{config.model_type} is an encoder-decoder model. The instruction must be read by the "
            "same network that writes the answer: use a decoder-only causal language model."
        )


def check_model(model: Any) -> None:
    """Refuse what is not a causal language model with a head."""
    for method in ("get_input_embeddings", "get_output_embeddings", "generate", "config"):
        if not hasattr(model, method):
            raise ModelError(
                f"{type(model).__name__} is not a transformers language model (no {method}). Pass "
                "a hub id, a folder, or a (model, tokenizer) pair."
            )
    check_config(model.config)
    if model.get_output_embeddings() is None:
        raise ModelError(
            f"{type(model).__name__} has no language-model head (get_output_embeddings() is None). "
            "Load it with AutoModelForCausalLM."
        )


def check_tokenizer(tokenizer: Any, model: Any) -> None:
    """Refuse tokenizers without character offsets, or of another model."""
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(
            f"{type(tokenizer).__name__} has no character offsets, so the tokens of an instruction "
            "cannot be found. Use the fast tokenizer (AutoTokenizer with a tokenizer.json)."
        )
    rows = model.get_input_embeddings().weight.shape[0]
    # Added tokens do not count: a text-only checkpoint may share its tokenizer with a larger
    # sibling that reads images, whose placeholder token it cannot embed and never meets.
    if tokenizer.vocab_size > rows:
        raise TokenizerError(
            f"The tokenizer has {tokenizer.vocab_size} tokens, the model only {rows} embeddings: "
            "they do not belong together."
        )


def check_causal(forward: Forward, vocab_size: int) -> None:
    """Refuse models in which a later token changes an earlier prediction.

    Masked language models load as causal ones without a word; only their numbers tell.
    """
    token = vocab_size // 2
    other = token - 1 if token else token
    with torch.no_grad():
        rows = [range(0, 2), range(0, 2)]
        logits = forward([[token, token, token], [token, token, other]], rows)
    first, second = at_least_float32(logits).chunk(2)
    if not (first.isnan().any() or alike(second, first, logits.dtype)):
        raise ModelError(
            "The model looks ahead: changing a token changes the predictions before it. Use a "
            "causal (decoder-only) language model."
        )


def context_of(model: Any, tokenizer: Any) -> int:
    """Return the most positions the model can read."""
    config = model.config.get_text_config(decoder=True)
    for name in CONTEXT_NAMES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return int(min(getattr(tokenizer, "model_max_length", UNLIMITED), UNLIMITED))
