"""Tells a language model that cannot be had from a program that fails."""

from __future__ import annotations

from dspy.utils import exceptions as dspy_errors

REMEDY = (
    "See that its server runs and is reached at the LM's api_base, that the LM's model is the name "
    "by which the server knows it, that the server takes its settings, and that its api_key is "
    "right and its account has credit. num_threads=... asks less at a time, "
    "dspy.LM(..., num_retries=...) tries longer."
)


def is_outage(error: BaseException) -> bool:
    """Return whether an LM gave no answer for reasons that no instruction has a part in."""
    if isinstance(error, dspy_errors.LMInvalidRequestError):
        return isinstance(error, dspy_errors.LMUnsupportedModelError)
    return isinstance(
        error,
        dspy_errors.LMTransportError
        | dspy_errors.LMProviderError
        | dspy_errors.LMConfigurationError,
    )


def is_refusal(error: BaseException) -> bool:
    """Return whether an LM gave no answer, for whatever reason but the prompt's length."""
    too_long = dspy_errors.ContextWindowExceededError
    return isinstance(error, dspy_errors.LMError) and not isinstance(error, too_long)
