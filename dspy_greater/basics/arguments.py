"""Checks of the optimizer's settings; each raises a ``ValueError`` that says what would do."""

from __future__ import annotations

import math
from typing import Any


def check_count(name: str, value: Any, least: int = 1, *, optional: bool = False) -> None:
    """Raise unless a setting is a whole number of at least ``least``, or None if it may be."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        none = ", or None" if optional else ""
        raise ValueError(f"{name} must be a whole number of at least {least}{none}, not {value!r}")


def check_level(name: str, value: Any) -> None:
    """Raise unless a setting is a confidence: with less than 0.5 what is worse might pass."""
    if not is_number(value) or not 0.5 <= value < 1:
        raise ValueError(f"{name} must be at least 0.5 and below 1, not {value!r}")


def check_positive(name: str, value: Any, *, or_zero: bool = False) -> None:
    """Raise unless a setting is a finite number above 0, or not below it."""
    if is_number(value) and (value > 0 or (or_zero and value == 0)):
        return
    must = "not be negative" if or_zero else "be above 0"
    raise ValueError(f"{name} must {must}, not {value!r}")


def check_score(name: str, value: Any) -> None:
    """Raise unless a setting is a score that a metric can give, or None."""
    if value is not None and (not is_number(value) or not 0 < value <= 1):
        raise ValueError(
            f"{name} must be a score above 0 and up to 1, or None to never stop early, not "
            f"{value!r}"
        )


def check_function(name: str, value: Any, what: str) -> None:
    """Raise unless a setting can be called, or is None; ``what`` says what it takes and returns."""
    if value is not None and not callable(value):
        raise ValueError(f"{name} must be a function {what}, or None, not {value!r}")


def is_number(value: Any) -> bool:
    """Return whether a setting is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
