"""Which cases of a test are for the fast suite, and which for ``pytest -m slow``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """All the cases, of which only the fast ones run without ``-m slow``."""
    cases = list(cases)
    assert set(fast) <= set(cases)
    return [case if case in fast else slow(case) for case in cases]


def slow(case: Any) -> Any:
    """The case, for ``pytest -m slow``."""
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
