"""What the examples' scripts leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import dspy
import pytest


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    """A script configures DSPy for its whole process, which here runs other tests, too."""
    before = dspy.settings.lm
    yield
    if dspy.settings.lm is not before:
        dspy.configure(lm=before)
