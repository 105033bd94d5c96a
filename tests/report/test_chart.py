"""The numbers behind the chart are those of the record."""

from __future__ import annotations

from dspy_greater import DetailedResults
from dspy_greater.report.chart import LABELS, Panel, panel, predictors
from tests.support.records import candidate, improved, interrupted, several


def chart_of(record: DetailedResults, predictor: str) -> Panel:
    drawn = panel(record, predictor)
    assert drawn is not None
    return drawn


def test_what_was_held_is_told_from_what_was_refused() -> None:
    drawn = chart_of(improved(), "predict")
    training, validation = drawn.series
    assert [dot.value for dot in training.dots] == [0.25, 0.0, 0.5, 0.75, 1.0]
    fates = ["accepted", "partial", "accepted", "refused", "accepted"]
    assert [dot.fate for dot in training.dots] == fates
    assert training.fates == ["accepted", "refused", "partial"]
    assert [(dot.place, dot.value) for dot in validation.dots] == [
        (0, 0.25),
        (2, 0.5),
        (3, 0.0),
        (4, 0.8125),
    ]
    assert validation.fates == ["accepted", "refused"]
    assert [dot.returned for dot in training.dots] == [False] * 4 + [True]
    assert training.dots[1].label == (
        "0.0% on 2 training examples, step 1, replace, refused: Guess it."
    )


def test_places_and_values_become_parts_of_the_width_and_height() -> None:
    drawn = chart_of(improved(), "predict")
    assert [drawn.left(place) for place in range(5)] == [10, 30, 50, 70, 90]
    assert [drawn.top(value) for value in (0, 0.25, 1)] == [100, 75, 0]
    assert drawn.stairs(drawn.series[0]) == [
        (10, 75, 50, 75),
        (50, 75, 50, 50),
        (50, 50, 90, 50),
        (90, 50, 90, 0),
        (90, 0, 100, 0),
        (100, 0, 100, 0),
    ]


def test_steps_are_labelled_in_their_middle_and_as_many_as_have_room() -> None:
    drawn = chart_of(improved(), "predict")
    assert drawn.labels == [(0, 0), (1.5, 1), (3, 2), (4, 3)]
    many = [candidate(f"Try {n}.", n // 3, [0.5]) for n in range(300)]
    drawn = chart_of(DetailedResults(candidates=many), "predict")
    assert len(drawn.labels) == LABELS
    assert drawn.labels[:2] == [(1, 0), (31, 10)]
    first = [candidate(f"Try {n}.", min(n, 1), [0.5]) for n in range(42)]
    drawn = chart_of(DetailedResults(candidates=first), "predict")
    assert drawn.labels == [(0, 0), (21, 1)]


def test_predictors_come_in_order_and_each_with_its_own() -> None:
    assert predictors(several()) == ["predict", "judge"]
    drawn = chart_of(several(), "judge")
    assert drawn.size == 1
    assert predictors(interrupted()) == ["predict"]
    assert predictors(DetailedResults()) == []
    assert panel(DetailedResults(), "predict") is None
