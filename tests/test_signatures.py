"""Signatures, adapters and metrics of every shape through a compile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal

import dspy
import pydantic
import pytest
from dspy.adapters.baml_adapter import BAMLAdapter

from tests.support.compiling import START, configured, examples, lm, small
from tests.support.marks import mostly_slow
from tests.support.scripted import TINY, chat, number, one_right, play

__all__ = ["configured", "lm"]


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Total(pydantic.BaseModel):
    number: int
    unit: str


class Plain(dspy.Adapter):
    """An adapter of one's own: lines of ``name: value``."""

    def format(self, signature: Any, demos: Any, inputs: Any) -> list[dict[str, Any]]:
        asked = "\n".join(f"{name}: {inputs[name]}" for name in signature.input_fields)
        return [
            {"role": "system", "content": signature.instructions},
            {"role": "user", "content": asked},
        ]

    def format_assistant_message_content(
        self, signature: Any, outputs: Any, missing_field_message: Any = None
    ) -> str:
        return "\n".join(f"{name}: {outputs[name]}" for name in signature.output_fields)

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        lines = dict(line.split(": ", 1) for line in completion.splitlines())
        return {name: lines[name] for name in signature.output_fields}


#: Types with a right and a wrong value.
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "int": (int, 3, 0),
    "float": (float, 0.5, 0.0),
    "bool": (bool, True, False),
    "Literal": (Literal["yes", "no"], "yes", "no"),
    "Enum": (Size, Size.LARGE, Size.SMALL),
    "list": (list[str], ["a", "b"], ["c"]),
    "dict": (dict[str, int], {"a": 1}, {"b": 2}),
    "pydantic": (Total, Total(number=3, unit="kg"), Total(number=0, unit="kg")),
    "Optional": (int | None, 3, None),
}
ADAPTERS: dict[str, dspy.Adapter] = {
    "chat": dspy.ChatAdapter(),
    "json": dspy.JSONAdapter(),
    "xml": dspy.XMLAdapter(),
    "baml": BAMLAdapter(),
    "own": Plain(),
}


def equal(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return bool(example.answer == prediction.answer)


def compiled(program: dspy.Module, adapter: dspy.Adapter | None = None, **knobs: Any) -> Any:
    """Compile on four examples, of which the first alone is answered right; return the record."""
    data = knobs.pop("data", examples(6))
    with dspy.context(adapter=adapter):
        result = small(**{"schedule": TINY, "num_threads": 4, **knobs}).compile(
            program, trainset=data[:4], valset=data[4:]
        )
    return result.detailed_results


def check(record: Any) -> None:
    """Whether everything was read, written and scored."""
    assert sorted(record.candidates[0].train_scores) == [0.0, 0.0, 0.0, 1.0]
    assert record.parse_failures == 0
    assert len(record.candidates) > 1


@pytest.mark.parametrize(
    ("kind", "adapter"),
    mostly_slow(
        [
            *((kind, "chat") for kind in TYPES),
            *(("pydantic", name) for name in ("json", "xml", "baml")),
            *(("Literal", "json"), ("int", "xml")),
        ],
        ("int", "chat"),
        ("Literal", "chat"),
        ("pydantic", "json"),
    ),
)
def test_typed_outputs(kind: str, adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    annotation, right, wrong = TYPES[kind]
    fields = {"question": (str, dspy.InputField()), "answer": (annotation, dspy.OutputField())}
    signature = dspy.Signature(fields, START)
    writer = ADAPTERS[adapter]

    def reply(prompt: str) -> str:
        value = wrong if number(prompt) else right
        return writer.format_assistant_message_content(signature, {"answer": value})

    play(monkeypatch, reply)
    data = [example.copy(answer=right) for example in examples(6)]
    check(compiled(dspy.Predict(signature), writer, metric=equal, data=data))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters(adapter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ADAPTERS[adapter]
    signature = dspy.Signature("question -> thoughts, answer", START)

    def reply(prompt: str) -> str:
        outputs = {"thoughts": "so", "answer": one_right(prompt)}
        return writer.format_assistant_message_content(signature, outputs)

    play(monkeypatch, reply)
    check(compiled(dspy.Predict(signature), writer))


def test_several_labelled_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        return (example.answer, example.unit) == (prediction.answer, prediction.unit)

    play(monkeypatch, chat({"thoughts": "so", "answer": one_right, "unit": "kg", "doubt": "no"}))
    signature = dspy.Signature("question -> thoughts, answer, unit, doubt", START)
    data = [example.copy(unit="kg") for example in examples(6)]
    check(compiled(dspy.Predict(signature), metric=both, data=data))


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (dspy.Reasoning, dspy.Reasoning(content="I have counted"), "I have counted"),
        (
            dspy.History,
            dspy.History(messages=[{"question": "And before?", "answer": "11"}]),
            "And before?",
        ),
    ],
)
def test_reasoning_and_histories_as_inputs(
    kind: Any, value: Any, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {
        "question": (str, dspy.InputField()),
        "before": (kind, dspy.InputField()),
        "answer": (str, dspy.OutputField()),
    }
    prompts = play(monkeypatch, chat({"answer": one_right}))
    data = [e.copy(before=value).with_inputs("question", "before") for e in examples(6)]
    check(compiled(dspy.Predict(dspy.Signature(fields, START)), data=data))
    assert all(shown in prompt for prompt in prompts)


def three(example: dspy.Example, prediction: dspy.Prediction, trace: Any) -> int:
    return int(equal(example, prediction))


def five(gold: Any, pred: Any, trace: Any, pred_name: Any, pred_trace: Any) -> dspy.Prediction:
    return dspy.Prediction(score=float(equal(gold, pred)), feedback="look again")


@pytest.mark.parametrize("metric", [equal, three, five], ids=["two", "three", "five"])
def test_metrics_of_two_three_and_five_arguments(
    metric: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, chat({"answer": one_right}))
    check(compiled(dspy.Predict(dspy.Signature("question -> answer", START)), metric=metric))


def test_one_thread_never_enters_a_metric_twice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = threading.Lock()

    def alone(example: dspy.Example, prediction: dspy.Prediction) -> bool:
        assert entered.acquire(blocking=False), "entered by two threads"
        try:
            threading.Event().wait(0.001)  # time for another thread to come in
            return equal(example, prediction)
        finally:
            entered.release()

    play(monkeypatch, chat({"answer": one_right}))
    program = dspy.Predict(dspy.Signature("question -> answer", START))
    check(compiled(program, metric=alone, num_threads=1, max_errors=1))
