"""What the tests of whole compiles share; the fixtures are for importing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import dspy
import pytest
from dspy.utils.exceptions import AdapterParseError

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from dspy_greater.model import WhiteBox
from dspy_greater.search.verified import writer
from examples.published_schedule import PaperConfig
from tests.support.tiny import make_model, make_tokenizer

START = "Solve the problem step by step."


def examples(count: int = 6) -> list[dspy.Example]:
    return [
        dspy.Example(question=f"What is {n} + 3?", answer=str(n + 3)).with_inputs("question")
        for n in range(count)
    ]


def metric(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> bool:
    return bool(example.answer == prediction.answer)


def lm_of(architecture: str = "llama", **changes: Any) -> dspy.LM:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer), **changes)
    return local_lm((model, tokenizer), max_tokens=6, cache=False)


PAPER = PaperConfig(max_steps=2, shortlist_size=2)
VERIFIED = VerifiedConfig(max_steps=2, examples=0, asked=2, starts=1)
SCHEDULES = pytest.mark.parametrize("schedule", [PAPER, VERIFIED], ids=["paper", "verified"])


def small(**knobs: Any) -> GreaterTeleprompter:
    settings = {"metric": metric, "schedule": PAPER, "progress": False, **knobs}
    return GreaterTeleprompter(**settings)


@pytest.fixture(scope="module")
def lm() -> dspy.LM:
    return lm_of()


@pytest.fixture(autouse=True)
def configured(lm: dspy.LM) -> Iterator[None]:
    with dspy.context(lm=lm):
        yield


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the adapters read whatever a random model writes, as the value of each field."""

    def forgive(kind: type[dspy.ChatAdapter]) -> None:
        parse = kind.parse

        def forgiving(self: Any, signature: Any, completion: str) -> dict[str, Any]:
            try:
                return parse(self, signature, completion)
            except AdapterParseError:
                return dict.fromkeys(signature.output_fields, completion)

        monkeypatch.setattr(kind, "parse", forgiving)

    for kind in (dspy.ChatAdapter, dspy.JSONAdapter, dspy.XMLAdapter):
        forgive(kind)


@pytest.fixture
def inventive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a random model, asked for instructions, answer with words drawn by chance."""

    def drawn(model: WhiteBox, asked: Sequence[str], most: int, rng: Random) -> list[str]:
        return [" ".join(rng.sample(START.split(), 4)) for _ in asked]

    monkeypatch.setattr(writer, "answers", drawn)


@pytest.fixture
def student() -> dspy.Module:
    program = dspy.ChainOfThought("question -> answer")
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(START)
    return program
