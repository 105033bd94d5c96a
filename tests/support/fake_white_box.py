"""A white box without a model: it echoes what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import dspy

from dspy_greater.basics.spans import Message
from dspy_greater.model.encoding import Encoding
from dspy_greater.model.requests import Generation, Sampling


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

    def metered(self, meter: object) -> FakeWhiteBox:
        return self

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


#: Makes a local LM around a white box, as ``local_lm`` does.
MakeLM = Callable[..., dspy.LM]
