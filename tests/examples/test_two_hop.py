"""The two-hop example: its questions, and an inner predictor that learns without labels."""

from __future__ import annotations

import re
import sys

import dspy
import pytest

from examples import two_hop
from examples.two_hop import STARTS, TwoCounters, metric, questions


def test_questions_are_seeded_and_their_answers_right() -> None:
    found = questions(50, seed=1)
    assert found == questions(50, seed=1) != questions(50, seed=2)
    for example in found:
        value = example.start
        for number, moves in enumerate((example.moves, example.more)):
            assert number == 0 or value in STARTS
            for verb, amount in re.findall(r"(add|subtract) (\d+)", moves):
                value += int(amount) if verb == "add" else -int(amount)
                assert value >= 0
        assert example.end == str(value)
        assert metric(example, dspy.Prediction(answer=str(value)))
        assert not metric(example, dspy.Prediction(answer=str(value + 1)))


def test_no_predictors_output_is_labelled() -> None:
    labels = set(questions(1, seed=0)[0].labels().keys())
    outputs = {name for each in TwoCounters().predictors() for name in each.signature.output_fields}
    assert not labels & outputs


@pytest.fixture
def few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in {"TRAIN": 20, "VALIDATION": 20, "HELD_OUT": 40}.items():
        monkeypatch.setattr(two_hop, name, count)


@pytest.mark.slow
@pytest.mark.usefixtures("few_questions")
def test_the_inner_predictor_gets_better(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["two_hop.py", "--max-tokens", "20000"])
    two_hop.main()
    said = capsys.readouterr().out
    before, after = map(float, re.findall(r"([\d.]+) %", said))
    assert after > before + 50
    assert "first.predict" in said


@pytest.mark.slow
@pytest.mark.usefixtures("few_questions")
def test_both_may_be_improved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Too few tokens for more than a step of each.
    monkeypatch.setattr(sys, "argv", ["two_hop.py", "--both", "--max-tokens", "20000"])
    two_hop.main()
    said = capsys.readouterr().out
    before, after = map(float, re.findall(r"([\d.]+) %", said))
    assert after >= before
    assert "first.predict" in said
    assert "second.predict" in said
