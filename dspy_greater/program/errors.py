"""What can be wrong with what a user hands in."""

from __future__ import annotations

import reprlib
from typing import Any

_REPR = reprlib.Repr()
_REPR.maxstring = 100
_REPR.maxother = 300


def shown(value: Any) -> str:
    """Return a value's ``repr``, cut in the middle when it is too long for a message."""
    return _REPR.repr(value)


class ProgramError(ValueError):
    """The program has no predictor that can be optimized."""


class DataError(ValueError):
    """A dataset, or one of its examples, cannot be used."""


class MetricError(ValueError):
    """The metric has the wrong arguments or does not return a score."""


class InstructionError(ValueError):
    """A text cannot be the instruction of a signature, byte for byte."""


class RenderingError(ValueError):
    """An adapter's messages cannot be cut into text spans."""


class TooManyErrorsError(RuntimeError):
    """More examples failed than ``max_errors`` allows."""
