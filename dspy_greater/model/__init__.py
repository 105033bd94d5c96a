"""The white box: a frozen causal language model with gradients (torch, transformers; no DSPy)."""

from dspy_greater.model.errors import (
    ContextError,
    LoadingError,
    MissingModelError,
    ModelError,
    TokenizerError,
)
from dspy_greater.model.loading import load
from dspy_greater.model.requests import Generation, Sampling, Targeted
from dspy_greater.model.white_box import WhiteBox

__all__ = [
    "ContextError",
    "Generation",
    "LoadingError",
    "MissingModelError",
    "ModelError",
    "Sampling",
    "Targeted",
    "TokenizerError",
    "WhiteBox",
    "load",
]
