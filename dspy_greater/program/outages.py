"""Tells a language model that cannot be had from a program that fails."""

from __future__ import annotations

from dspy.utils import exceptions as dspy_errors


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


def remedy(error: BaseException) -> str:
    """Say what to do about it."""
    access = dspy_errors.LMAuthError | dspy_errors.LMBillingError | dspy_errors.LMConfigurationError
    if isinstance(error, access):
        return "See that the LM's api_key and api_base are right and its account has credit."
    if isinstance(error, dspy_errors.LMInvalidRequestError):
        return (
            "See that the LM's model is the name by which its server knows it, and that the "
            "server takes its settings."
        )
    if isinstance(error, dspy_errors.LMRateLimitError):
        return "Ask less at a time, num_threads=..., or try longer, dspy.LM(..., num_retries=...)."
    return (
        "See that its server runs and is reached at the LM's api_base; "
        "dspy.LM(..., num_retries=...) tries longer."
    )
