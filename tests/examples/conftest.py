"""What the examples' scripts leave behind."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import dspy
import pytest


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    """A script configures DSPy for its whole process, which here runs other tests, too."""
    before, logger = dspy.settings.lm, logging.getLogger("dspy.clients.lm")
    level = logger.level
    yield
    logger.setLevel(level)  # benchmarks hush it
    if dspy.settings.lm is not before:
        dspy.configure(lm=before)
