"""Labels by the user's own function: used like those in examples, refused when they are none."""

from __future__ import annotations

import math
from typing import Any

import dspy
import pytest

from dspy_greater.program import DataError, Predictor, beside, gold_outputs, labelled_fields
from dspy_greater.program.labels import given_labels, relabelled
from dspy_greater.program.predictors import predictors_of

EXAMPLES = [
    dspy.Example(question=f"What is {n} + 3?", answer=str(n + 3)).with_inputs("question")
    for n in range(3)
]


class Hops(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rewrite = dspy.ChainOfThought("question -> query, count: int")
        self.answer = dspy.Predict("query -> answer")


def rewrite() -> Predictor:
    return predictors_of(Hops(), EXAMPLES)[0]


def given(label_fn: Any) -> list[dspy.Example]:
    return given_labels(label_fn, rewrite(), EXAMPLES, dspy.ChatAdapter())


def test_an_inner_predictor_is_labelled_where_the_function_knows_better() -> None:
    assert rewrite().label_fields == ()
    asked = []

    def label_fn(example: dspy.Example, name: str) -> Any:
        asked.append((example, name))
        return [{"query": "0 3", "count": "2"}, {}, None][int(example.question.split()[2])]

    labels = given(label_fn)
    assert asked == [(example, "rewrite.predict") for example in EXAMPLES]
    predictor = relabelled(rewrite(), labels)
    assert predictor.label_fields == ("query", "count")
    assert [labelled_fields(predictor, each) for each in labels] == [("query", "count"), (), ()]
    run = {"reasoning": "hm", "query": "?", "count": 9}
    assert gold_outputs(predictor, labels[0], run) == {
        "reasoning": "hm",
        "query": "0 3",
        "count": 2,
    }


def test_examples_may_have_labels_of_different_fields() -> None:
    fields = iter([{"count": 1}, {"query": "q"}, {}])
    labels = given(lambda example, name: next(fields))
    predictor = relabelled(rewrite(), labels)
    run = {"reasoning": "hm", "query": "?", "count": 9}
    assert gold_outputs(predictor, labels[0], run) == {**run, "count": 1}
    assert gold_outputs(predictor, labels[1], run) == {"reasoning": "hm", "query": "q"}


def test_what_it_says_counts_in_the_place_of_the_examples_labels() -> None:
    answer = predictors_of(Hops(), EXAMPLES)[1]
    assert answer.label_fields == ("answer",)
    nothing = given_labels(lambda example, name: None, answer, EXAMPLES, dspy.ChatAdapter())
    assert relabelled(answer, nothing).label_fields == ()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (["3"], r"returned \['3'\] .*, not a dict.*'query', 'count'"),
        ("3", r"returned '3' .*, not a dict"),
        ({"qurey": "3"}, r"the field 'qurey' .* none of the predictor's output fields: .*'query'"),
        ({3: "3"}, "the field 3 .* none of the predictor's output fields"),
        ({"count": "many"}, "has the label count='many', which is not a value .* leave the field"),
        ({"query": None}, "has no label 'query'.* leave the field out"),
        ({"query": math.nan}, r"has no label 'query' \(it is nan\).* leave the field out"),
        ({"query": "[[ ## count ## ]]"}, "has the label query=.*remove the adapter's markup"),
    ],
)
def test_what_is_no_label_is_refused_with_the_mend(returned: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        given(lambda example, name: returned if example is EXAMPLES[1] else None)
    assert "predictor 'rewrite.predict'" in str(caught.value)
    assert "trainset[1]" in str(caught.value)


def test_a_function_that_raises_is_refused_with_the_mend() -> None:
    gold = {"answer": {"answer": "3"}}
    message = (
        r"raised KeyError: 'rewrite.predict' for predictor 'rewrite.predict' on trainset\[0\]"
        r".*return None"
    )
    with pytest.raises(DataError, match=message):
        given(lambda example, name: gold[name])


def test_an_example_with_other_labels_beside_its_own_keeps_both() -> None:
    both = beside(EXAMPLES[0], dspy.Example({"answer": "Lyon", "base": "Rome"}))
    assert both.inputs().toDict() == {"question": "What is 0 + 3?"}
    assert list(both.labels().toDict().values()) == ["3", "Lyon", "Rome"]
