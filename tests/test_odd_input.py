"""Metrics that go wrong, outputs and examples that are odd, and texts of all kinds."""

from __future__ import annotations

import logging
import re
from typing import Any

import dspy
import pytest

from dspy_greater.program import (
    MetricError,
    TooManyErrorsError,
)
from tests.support.bad_input import QA, program
from tests.support.compiling import VERIFIED, configured, examples, lm, small
from tests.support.scripted import TINY, chat, one_right, play

__all__ = ["configured", "lm"]

RIGHT = chat({"answer": one_right})


def failing(example: dspy.Example, prediction: dspy.Prediction) -> float:
    raise LookupError("no such column")


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (
            failing,
            TooManyErrorsError,
            "4 of 4 examples failed (max_errors is 2). Mend the program or the metric. The first "
            "failure, on Example(…), was LookupError: no such column",
        ),
        (
            lambda example, prediction: float("nan"),
            MetricError,
            "The metric <lambda> returned nan for the example … it must return a finite number, a "
            "bool, or dspy.Prediction(score=..., feedback=...).",
        ),
        (
            lambda example, prediction: 37,
            MetricError,
            "The metric <lambda> returned 37.0 for the example … scores go from 0 (wrong) to 1 "
            "(perfect), so divide by the best possible score.",
        ),
        (
            lambda example, prediction: -0.5,
            MetricError,
            "The metric <lambda> returned -0.5 for the example … scores go from 0 (wrong) to 1 "
            "(perfect), so divide by the best possible score.",
        ),
        (
            lambda example, prediction: dspy.Prediction(answer="7"),
            MetricError,
            "The metric <lambda> returned Prediction(…) for the example … it must return a finite "
            "number, a bool, or dspy.Prediction(score=..., feedback=...).",
        ),
    ],
    ids=["raises", "nan", "above 1", "below 0", "no score"],
)
def test_a_metric_that_goes_wrong_ends_the_first_evaluation(
    metric: Any, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = play(monkeypatch, RIGHT)
    with pytest.raises(error) as caught:
        small(metric=metric, max_errors=2, num_threads=1).compile(program(), trainset=examples())
    # White space: DSPy's own repr of a prediction goes over several lines.
    said, pattern = " ".join(str(caught.value).split()), re.escape(message).replace("…", ".*")
    assert re.fullmatch(pattern, said)
    assert len(prompts) <= 4


def test_validation_examples_that_come_twice_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play(monkeypatch, RIGHT)
    twice = [*examples(6)[4:], examples(6)[5]]
    small(schedule=TINY).compile(program(), trainset=examples(4), valset=twice)
    assert "1 of 3 validation examples are copies of others in the valset" in caplog.text


def test_outputs_that_are_empty_count_as_wrong(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play(monkeypatch, lambda prompt: "")
    with caplog.at_level(logging.WARNING, "dspy_greater"):
        compiled = small(schedule=VERIFIED).compile(program(), trainset=examples())
    record = compiled.detailed_results
    assert record.parse_failure_rate == 1.0
    assert f"{record.total_calls} of {record.total_calls} outputs (100.0%)" in caplog.text
    assert record.outcomes[0].after == record.outcomes[0].before


TEXTS = {
    "emoji": "Read 👩‍🔬🧪 carefully, then answer ✅.",
    "right to left": "اقرأ السؤال ثم أجب عنه بعناية.",
    "both directions": "קרא את the question و أجب 7.",
    "mixed languages": "Lies die Frage, 回答请简短, и подумай.",
    "combining marks": "Re\u0301ponds a\u0300 la question.",
    "a lot of space": "Read.\n\n  - twice\n\nThen  answer.",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_texts_of_all_kinds_are_kept_to_the_letter(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = play(monkeypatch, chat({"answer": text}))
    first, *others = (
        dspy.Example(question=f"{text} {n}", answer=text if n else "?").with_inputs("question")
        for n in (1, 2, 3, 0, 0, 0)
    )
    compiled = small(schedule=TINY, perfect_score=None).compile(
        dspy.Predict(QA.with_instructions(text)), trainset=[first, *others[:2]], valset=others[2:]
    )
    record = compiled.detailed_results
    assert record.candidates[0].instruction == record.outcomes[0].before == text
    # The text came through prompt, model, parser and metric.
    assert record.candidates[0].train_scores == [1.0, 1.0, 1.0]
    assert record.parse_failures == 0
    shown = text.replace("\n", "\n        ")  # as ChatAdapter sets an instruction
    assert shown in prompts[0]
    assert any(f"{text} 1" in prompt for prompt in prompts)
