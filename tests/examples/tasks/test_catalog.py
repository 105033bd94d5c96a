"""The tasks: programs, instructions and metrics as DSPy takes them."""

from __future__ import annotations

from inspect import signature

import dspy
import pytest
from dspy.utils import DummyLM

from dspy_greater.program import Metric, check_instruction
from dspy_greater.program.data import check_dataset
from examples.tasks import NAMES, PUBLISHED, SYNTHETIC, load
from examples.tasks.catalog import BBH
from tests.support.tasks import OPTIONS, assert_disjoint


def test_there_are_all_tasks() -> None:
    assert len(BBH) == 27
    assert len(PUBLISHED) == 32
    assert "arithmetic" in SYNTHETIC
    assert len(set(NAMES)) == len(NAMES) == len(PUBLISHED) + len(SYNTHETIC)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_has_dspys_own_instruction_or_the_one_it_is_given(name: str) -> None:
    task = load(name)
    (predictor,) = task.program().predictors()
    assert predictor.signature.instructions.startswith("Given the fields `")
    check_instruction(predictor.signature, task.handwritten)
    (predictor,) = task.program(task.handwritten).predictors()
    assert predictor.signature.instructions == task.handwritten
    assert task.program() is not task.program()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "facility"])
def test_a_metric_is_called_as_dspy_and_as_gepa_call_it(name: str) -> None:
    task = load(name)
    example = dspy.Example(question=OPTIONS, answer="(A)").with_inputs("question")
    signature(task.metric).bind(*[None] * 5)
    assert Metric(task.metric).score(example, dspy.Prediction(answer="nothing")) == 0
    assert task.metric(example, dspy.Prediction(answer=None), trace=[]) is False


def test_a_program_is_told_of_the_form_and_scored_on_the_meaning() -> None:
    task = load("temporal_sequences")
    example = dspy.Example(question=OPTIONS, answer="(B)").with_inputs("question")
    with dspy.context(
        lm=DummyLM([{"reasoning": "It is seen first.", "answer": "The answer is B."}])
    ):
        prediction = task.program()(**example.inputs())
        sent = dspy.settings.lm.history[-1]["messages"]
    assert "in parentheses, such as (A)" in sent[0]["content"]
    assert OPTIONS in sent[-1]["content"]
    assert task.metric(example, prediction) is True


def test_an_e_mail_is_scored_by_all_it_is_asked_for() -> None:
    task = load("facility")
    gold = {"urgency": "high", "sentiment": "neutral", "categories": ["general_inquiries"]}
    example = dspy.Example(message="Help!", **gold).with_inputs("message")
    signature(task.metric).bind(*[None] * 5)
    assert task.metric(example, dspy.Prediction(**gold)) == 1
    assert task.metric(example, dspy.Prediction(**gold | {"urgency": "low"})) == pytest.approx(
        2 / 3
    )
    two = {"categories": ["general_inquiries", "emergency_repair_services"]}
    assert task.metric(example, dspy.Prediction(**gold | two)) == pytest.approx(2.9 / 3)
    assert task.metric(example, dspy.Prediction(answer="nothing")) == 0


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_tasks_have_the_same_interface(name: str) -> None:
    task = load(name)
    splits = task.splits(3)
    assert [len(split) for split in splits] == [50, 100, 100]
    assert_disjoint(splits)
    assert splits == task.splits(3)
    assert splits != task.splits(4)
    check_dataset("trainset", splits.train, task.program())
    for example, other in zip(splits.test, splits.test[1:], strict=False):
        assert task.metric(example, dspy.Prediction(answer=example.answer))
        assert task.metric(example, dspy.Prediction(answer=other.answer)) == (
            example.answer == other.answer
        )
