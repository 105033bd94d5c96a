from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dspy
import pytest

from dspy_greater.lm import AsyncLocalEngine, LocalEngine
from dspy_greater.model.encoding import Encoding
from dspy_greater.model.requests import Generation, Sampling
from dspy_greater.basics.spans import Message


class FakeWhiteBox:
    """Answers "<temperature> <last message>" and notes every batch; one character is one token."""

    class encoder:  # noqa: N801
        decode = staticmethod(lambda ids: "".join(map(chr, ids)))

    def __init__(self, name: str = "some/fake", fingerprint: str = "f00d" * 8) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.context = 10_000
        self.batches: list[list[str]] = []
        self.samplings: list[Sampling] = []
        self.answer: str | None = None  # instead of the echo
        self.messages: list[Sequence[Message]] = []
        self.open = threading.Event()  # cleared: generation stands still
        self.open.set()
        self.started = threading.Event()

    def encode(self, messages: Sequence[Message]) -> Encoding:
        self.messages.append(messages)
        return Encoding(tuple(map(ord, messages[-1]["content"])), {})

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Generation]:
        texts = ["".join(map(chr, prompt)) for prompt in prompts]
        self.batches.append(texts)
        self.samplings.extend(samplings)
        self.started.set()
        assert self.open.wait(30)
        if "explode" in texts:
            raise MemoryError("no room for explode")
        return [
            Generation(
                ids=(1, 2, 3),
                text=self.answer or f"{sampling.temperature} {text}",
                finish="stop",
            )
            for text, sampling in zip(texts, samplings, strict=True)
        ]


MakeLM = Callable[..., dspy.LM]


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
        return dspy.LM(
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
