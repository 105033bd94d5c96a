"""What can be wrong with what a user hands in, and with a language model that it runs on."""

from __future__ import annotations

import reprlib
from typing import Any

from dspy.utils import exceptions as dspy_errors

_REPR = reprlib.Repr()
_REPR.maxstring = 100
_REPR.maxother = 300

REMEDY = (
    "See that its server runs and is reached at the LM's api_base, that the LM's model is the name "
    "by which the server knows it, that the server takes its settings, and that its api_key is "
    "right and its account has credit. num_threads=... asks less at a time, "
    "dspy.LM(..., num_retries=...) tries longer."
)


def shown(value: Any) -> str:
    """Return a value's ``repr``, cut in the middle when it is too long for a message."""
    return _REPR.repr(value)


class ProgramError(ValueError):
    """The program has no predictor that can be optimized."""


class DataError(ValueError):
    """A dataset, or one of its examples, cannot be used."""


class MetricError(ValueError):
    """The metric has the wrong arguments or does not return a score."""


class ScaleError(MetricError):
    """The metric's scores are not from 0 to 1."""


class InstructionError(ValueError):
    """A text cannot be the instruction of a signature, byte for byte."""


class RenderingError(ValueError):
    """An adapter's messages cannot be cut into text spans."""


class TooManyErrorsError(RuntimeError):
    """More examples failed than ``max_errors`` allows."""


def is_outage(error: BaseException) -> bool:
    """Return whether an LM gave no answer for reasons that no instruction has a part in."""
    if isinstance(error, dspy_errors.LMInvalidRequestError):
        return isinstance(error, dspy_errors.LMUnsupportedModelError)
    elsewhere = dspy_errors.LMTransportError | dspy_errors.LMProviderError
    return isinstance(error, elsewhere | dspy_errors.LMConfigurationError)


def is_refusal(error: BaseException) -> bool:
    """Return whether an LM gave no answer, for whatever reason but the prompt's length."""
    too_long = dspy_errors.ContextWindowExceededError
    return isinstance(error, dspy_errors.LMError) and not isinstance(error, too_long)
