"""Every shape of DSPy metric works, every other gets one clear error."""

from __future__ import annotations

import functools

import dspy
import numpy as np
import pytest

from dspy_greater.program import Metric, MetricError

EXAMPLE = dspy.Example(question="?", answer="2").with_inputs("question")
RIGHT = dspy.Prediction(answer="2")


def two(example, prediction):
    return example.answer == prediction.answer


def three(example, prediction, trace=None):
    assert trace is None
    return example.answer == prediction.answer


def three_required(example, prediction, trace):
    assert trace is None
    return example.answer == prediction.answer


def gepa(gold, pred, trace, pred_name, pred_trace):
    assert trace is pred_name is pred_trace is None
    return dspy.Prediction(score=float(gold.answer == pred.answer), feedback="well done")


def anything(*args, **kwargs):
    assert len(args) == 2
    return True


def with_option(example, prediction, weight=1.0, *, strict=True):
    return weight * (example.answer == prediction.answer)


class Judge:
    def __call__(self, example, prediction, trace=None):
        return example.answer == prediction.answer


class JudgeModule(dspy.Module):
    def forward(self, example, prediction, trace=None):
        return dspy.Prediction(score=1)


@pytest.mark.parametrize(
    "metric",
    [
        *(two, three, three_required, gepa, anything, with_option, Judge(), JudgeModule()),
        lambda e, p: e.answer == p.answer,
        functools.partial(with_option, weight=1.0),
        functools.partial(lambda weight, e, p: weight, 1),
        dspy.evaluate.answer_exact_match,
    ],
)
def test_dspy_metrics_score(metric):
    assert Metric(metric).score(EXAMPLE, RIGHT) == 1.0


@pytest.mark.parametrize(
    ("returned", "value"),
    [
        (True, 1.0),
        (0, 0.0),
        (0.25, 0.25),
        (np.float32(0.5), 0.5),
        (np.bool_(True), 1.0),
        (np.array(1), 1.0),
        (dspy.Prediction(score=0.5), 0.5),
        ({"score": 1, "feedback": "good"}, 1.0),
    ],
)
def test_scores_are_floats(returned, value):
    score = Metric(lambda e, p: returned).score(EXAMPLE, RIGHT)
    assert (score, type(score)) == (value, float)


@pytest.mark.parametrize(
    "returned",
    [None, "1", float("nan"), float("inf"), [1], np.ones(2), dspy.Prediction(answer="2"), {}],
    ids=repr,
)
def test_nonsense_names_the_metric_and_the_example(returned):
    def exact(example, prediction):
        return returned

    with pytest.raises(MetricError, match=r"(?s)metric exact returned .*question.*finite number"):
        Metric(exact).score(EXAMPLE, RIGHT)


@pytest.mark.parametrize("returned", [-0.1, 1.5, 37])
def test_scores_beyond_0_and_1_are_refused(returned):
    with pytest.raises(MetricError, match="divide by the best possible score"):
        Metric(lambda e, p: returned).score(EXAMPLE, RIGHT)


async def asynchronous(example, prediction):
    return 1.0


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda: 1, "wrong arguments"),
        (lambda example: 1, r"<lambda>\(example\) has the wrong arguments"),
        (lambda a, b, c, d: 1, "wrong arguments"),
        (lambda a, b, c, d, e, f: 1, "wrong arguments"),
        (lambda a, b, *, needed: 1, "wrong arguments"),
        (Judge, r"is a class: create it first, Judge\(\.\.\.\)"),
        (asynchronous, "asynchronous"),
        ("exact", "not a function"),
        (None, "not a function"),
    ],
)
def test_wrong_arguments_are_errors_before_any_call(metric, message):
    with pytest.raises(MetricError, match=message):
        Metric(metric)
