"""The white box: a frozen causal language model with gradients (torch, transformers; no DSPy)."""

from dspy_greater.model.encoding import ChatEncoder, Encoding, allowed_tokens
from dspy_greater.model.errors import (
    ContextError,
    LoadingError,
    MissingModelError,
    ModelError,
    TemplateError,
    TokenizerError,
    WhiteBoxError,
)
from dspy_greater.model.loading import load
from dspy_greater.model.requests import Generation, Gradient, Sampling, Targeted, TokenLogProb
from dspy_greater.model.white_box import WhiteBox

__all__ = [
    "ChatEncoder",
    "ContextError",
    "Encoding",
    "Generation",
    "Gradient",
    "LoadingError",
    "MissingModelError",
    "ModelError",
    "Sampling",
    "Targeted",
    "TemplateError",
    "TokenLogProb",
    "TokenizerError",
    "WhiteBox",
    "WhiteBoxError",
    "allowed_tokens",
    "load",
]
