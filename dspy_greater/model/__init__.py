"""The white box: a frozen causal language model with gradients (torch, transformers; no DSPy)."""

from dspy_greater.model.encoding import ChatEncoder, allowed_tokens
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
from dspy_greater.model.requests import Generation, Gradient, Sampling, Targeted
from dspy_greater.model.white_box import WhiteBox

__all__ = [
    "ChatEncoder",
    "ContextError",
    "Generation",
    "Gradient",
    "LoadingError",
    "MissingModelError",
    "ModelError",
    "Sampling",
    "Targeted",
    "TemplateError",
    "TokenizerError",
    "WhiteBox",
    "WhiteBoxError",
    "allowed_tokens",
    "load",
]
