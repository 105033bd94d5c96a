"""What can be wrong with a model, a tokenizer or a prompt, as errors that say how to mend it."""

from __future__ import annotations


class WhiteBoxError(ValueError):
    """Base of every error the model side raises on purpose."""


class LoadingError(WhiteBoxError):
    """The model or its tokenizer could not be loaded."""


class MissingModelError(LoadingError):
    """There is no model at the given folder or name."""


class ModelError(LoadingError):
    """The model is not a causal language model with a language-model head."""


class TokenizerError(LoadingError):
    """The tokenizer cannot tell which characters a token stands for."""


class TemplateError(WhiteBoxError):
    """The chat template refused the messages, or changed the text of one that is needed."""


class ContextError(WhiteBoxError):
    """A sequence is longer than the model's context."""


def first_line(error: Exception) -> str:
    """What another library said, short enough to stand behind what it means."""
    return f"({type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''})"
