"""Gold values are what the adapter would have to write for a right answer."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import dspy
import numpy as np
import pydantic
import pytest

from dspy_greater.program import DataError, Predictor, gold_outputs
from dspy_greater.program.labels import check_labels, gold_value, is_missing


class Person(pydantic.BaseModel):
    name: str


class Colour(Enum):
    RED = "red"


def predictor_of(annotation: Any, labels: tuple[str, ...] = ("answer",)) -> Predictor:
    signature = dspy.Signature(
        {
            "question": (str, dspy.InputField()),
            "thoughts": (str, dspy.OutputField()),
            "answer": (annotation, dspy.OutputField()),
            "reason": (str, dspy.OutputField()),
            "score": (int, dspy.OutputField()),
        },
        "Answer.",
    )
    return Predictor("self", signature, dspy.Predict(signature), labels)


def example_of(**labels: Any) -> dspy.Example:
    return dspy.Example(question="?", **labels).with_inputs("question")


@pytest.mark.parametrize(
    ("annotation", "label", "gold"),
    [
        (str, "Paris", "Paris"),
        (str, " Paris\n", "Paris"),
        (str, 3, "3"),
        (str, True, "True"),
        (str, ["Paris", "paris"], "Paris"),
        (int, 3, 3),
        (int, "3", 3),
        (float, "0.5", 0.5),
        (bool, "True", True),
        (bool, 1, True),
        (Literal["a", "b"], "a", "a"),
        (Literal[1, 2], "2", 2),
        (Colour, "red", Colour.RED),
        (Colour, Colour.RED, Colour.RED),
        (list[str], ["a", "b"], ["a", "b"]),
        (list[int], "[1, 2]", [1, 2]),
        (Person, Person(name="Ada"), Person(name="Ada")),
        (Person, {"name": "Ada"}, Person(name="Ada")),
        (Person, '{"name": "Ada"}', Person(name="Ada")),
        (int | None, None, None),
        (str, "", ""),
        (str, "  \n", ""),
        (str, [""], ""),
        (str, [math.nan, "Paris"], "Paris"),
        (str | None, "", ""),
        (list[str], [], []),
        (int | None, math.nan, None),
    ],
)
def test_labels_become_values_of_the_fields_type(annotation, label, gold):
    value = gold_value(predictor_of(annotation), "answer", example_of(answer=label))
    assert (value, type(value)) == (gold, type(gold))


@pytest.mark.parametrize(
    ("annotation", "label", "message"),
    [
        (int, "three", "not a value of the output field's type"),
        (Literal["a", "b"], "c", "not a value of the output field's type"),
        (Person, {"age": 3}, "not a value of the output field's type"),
        (Colour, "green", "not a value of the output field's type"),
        (str, {"text": "Paris"}, "not a value of the output field's type"),
        (int, "", "not a value of the output field's type"),
        (str, [["Paris"]], "not a value of the output field's type"),
        (str, [], r"has no label 'answer' \(it is \[\]\)"),
        (str, [math.nan], r"has no label 'answer' \(it is \[nan\]\)"),
        (str, None, "has no label 'answer'"),
        (int, None, "has no label 'answer'"),
    ],
)
def test_labels_of_another_type_are_errors(annotation, label, message):
    with pytest.raises(DataError, match=message):
        gold_value(predictor_of(annotation), "answer", example_of(answer=label))


MISSING = [
    *(None, float("nan"), np.nan, np.float32("nan"), np.float64("nan")),
    *(np.datetime64("NaT"), np.timedelta64("NaT"), Decimal("nan")),
]
VALUES = ["", "nan", "None", "NaN", 0, 0.0, math.inf, False, [], {}, np.zeros(2), np.float32(1)]
VALUES += [[math.nan], Person(name=""), datetime.date(2020, 1, 1), Colour.RED]


@pytest.mark.parametrize("label", MISSING, ids=repr)
@pytest.mark.parametrize("annotation", [str, float, Literal["nan", "a"]], ids=str)
def test_what_is_missing_is_no_label_however_it_is_spelled(annotation, label):
    assert is_missing(label)
    with pytest.raises(DataError, match=r"trainset\[0\] has no label 'answer'"):
        check_labels(
            "trainset",
            [example_of(answer=label)],
            [predictor_of(annotation)],
            dspy.ChatAdapter(),
        )


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_what_is_empty_or_says_nan_is_a_value(value):
    assert not is_missing(value)


def test_an_empty_cell_of_pandas_is_no_label():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"question": ["a", "b"], "answer": ["x", None]})
    for column in (frame.answer, frame.answer.astype("string"), frame.answer.map({"x": 1.5})):
        rows = frame.assign(answer=column).to_dict("records")
        examples = [dspy.Example(row).with_inputs("question") for row in rows]
        with pytest.raises(DataError, match=r"trainset\[1\] has no label 'answer'"):
            check_labels("trainset", examples, [predictor_of(str)], dspy.ChatAdapter())
    assert is_missing(pandas.NA)
    assert is_missing(pandas.NaT)
    assert not is_missing(pandas.Series([math.nan, 1.0]))


def test_the_run_reasons_and_the_label_answers():
    run = {"thoughts": "hm", "answer": "Rome", "reason": "so", "score": 1}
    gold = gold_outputs(predictor_of(str), example_of(answer="Paris"), run)
    assert gold == {"thoughts": "hm", "answer": "Paris"}


def test_fields_between_two_labels_are_the_runs_own():
    run = {"thoughts": "hm", "answer": "Rome", "reason": "so", "score": 1}
    predictor = predictor_of(str, ("answer", "score"))
    gold = gold_outputs(predictor, example_of(answer="Paris", score="5"), run)
    assert list(gold.items()) == [
        *[("thoughts", "hm"), ("answer", "Paris")],
        *[("reason", "so"), ("score", 5)],
    ]


@pytest.mark.parametrize(
    "adapter", [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter()], ids=type
)
@pytest.mark.parametrize(
    "label", ["", "Paris", "a < b & c", 'say "a"', "two\n\nlines", "{x}", "None"]
)
def test_labels_that_read_back_pass(adapter, label):
    check_labels("trainset", [example_of(answer=label)], [predictor_of(str)], adapter)


@pytest.mark.parametrize(
    ("adapter", "label"),
    [
        (dspy.ChatAdapter(), "[[ ## score ## ]]\n3"),
        (dspy.ChatAdapter(), "a\n[[ ## completed ## ]]\nb"),
        (dspy.XMLAdapter(), "a\x00b"),
    ],
)
def test_markup_in_a_label_is_an_error_that_names_the_example(adapter, label):
    examples = [example_of(answer="fine"), example_of(answer=label)]
    with pytest.raises(DataError, match=r"trainset\[1\] has the label answer=.*remove the adapter"):
        check_labels("trainset", examples, [predictor_of(str)], adapter)


def test_a_missing_label_names_the_example():
    examples = [example_of(answer="fine"), example_of(other=1)]
    with pytest.raises(DataError, match=r"valset\[1\] has no label 'answer'"):
        check_labels("valset", examples, [predictor_of(str)], dspy.ChatAdapter())


def test_adapters_that_parse_with_a_model_are_not_asked_to():
    adapter = dspy.TwoStepAdapter(dspy.utils.DummyLM([]))
    check_labels("trainset", [example_of(answer="a")], [predictor_of(str)], adapter)
