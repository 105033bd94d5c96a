"""Local LMs around white boxes without a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dspy
import pytest

from dspy_greater.lm.engine import AsyncLocalEngine, LocalEngine, LocalLM
from tests.support.fake_white_box import FakeWhiteBox, MakeLM


@pytest.fixture
def fake() -> FakeWhiteBox:
    return FakeWhiteBox()


@pytest.fixture
def make_lm() -> Iterator[MakeLM]:
    """Makes what ``local_lm`` makes, around any (fake) white box; closes it afterwards."""
    engines: list[LocalEngine] = []

    def make(white_box: Any, *, max_batch: int = 64, batch_wait: float = 0.01, **kwargs: Any):
        engine = LocalEngine(white_box, max_batch=max_batch, batch_wait=batch_wait)
        engines.append(engine)
        settings = {"temperature": 0.0, "max_tokens": 20, "cache": False, **kwargs}
        return LocalLM(
            engine.model, engine=engine, async_engine=AsyncLocalEngine(engine), **settings
        )

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture(autouse=True)
def fresh_cache() -> Iterator[None]:
    before = dspy.cache
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    yield
    dspy.cache = before
