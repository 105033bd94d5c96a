"""The numbers behind the chart are those of the record."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dspy_greater import DetailedResults
from dspy_greater.report.chart import LABELS, panels, predictors, ticks_over
from tests.support.records import candidate, improved, interrupted, paper, several


def test_what_was_held_is_told_from_what_was_refused() -> None:
    (panel,) = panels(improved(), "predict")
    training, validation = panel.series
    assert [dot.value for dot in training.dots] == [0.25, 0.0, 0.5, 0.75, 1.0]
    fates = ["accepted", "partial", "accepted", "refused", "accepted"]
    assert [dot.fate for dot in training.dots] == fates
    assert training.fates == ["accepted", "refused", "partial"]
    assert training.line == [(0, 0.25), (2, 0.5), (4, 1.0)]
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


def test_losses_have_a_panel_of_their_own() -> None:
    scores, losses = panels(paper(), "predict")
    (series,) = losses.series
    assert [dot.value for dot in series.dots] == [9, 10, 5, 7, 1]
    assert series.line == [(0, 9), (2, 5), (4, 1)]
    assert losses.ticks == [0, 5, 10]
    assert (scores.title, losses.title) == ("score", "training loss")


def test_places_and_values_become_parts_of_the_width_and_height() -> None:
    (panel,) = panels(improved(), "predict")
    assert [panel.left(place) for place in range(5)] == [10, 30, 50, 70, 90]
    assert [panel.top(value) for value in (0, 0.25, 1)] == [100, 75, 0]
    assert panel.stairs(panel.series[0]) == [
        (10, 75, 50, 75),
        (50, 75, 50, 50),
        (50, 50, 90, 50),
        (90, 50, 90, 0),
        (90, 0, 100, 0),
        (100, 0, 100, 0),
    ]


def test_steps_are_labelled_in_their_middle_and_as_many_as_have_room() -> None:
    (panel,) = panels(improved(), "predict")
    assert panel.labels == [(0, 0), (1.5, 1), (3, 2), (4, 3)]
    many = [candidate(f"Try {n}.", n // 3, [0.5]) for n in range(300)]
    (panel,) = panels(DetailedResults(candidates=many), "predict")
    assert len(panel.labels) == LABELS
    assert panel.labels[:2] == [(1, 0), (31, 10)]
    first = [candidate(f"Try {n}.", min(n, 1), [0.5]) for n in range(42)]
    (panel,) = panels(DetailedResults(candidates=first), "predict")
    assert panel.labels == [(0, 0), (21, 1)]


def test_predictors_come_in_order_and_each_with_its_own() -> None:
    assert predictors(several()) == ["predict", "judge"]
    (panel,) = panels(several(), "judge")
    assert panel.size == 1
    assert predictors(interrupted()) == ["predict"]
    assert predictors(DetailedResults()) == []
    assert panels(DetailedResults(), "predict") == []


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=5))
@example([-1000000.0, -999999.9999999999])
def test_ticks_are_few_and_reach_over_all_values(values: list[float]) -> None:
    ticks = ticks_over(values)
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    slack = 1e-9 * (ticks[-1] - ticks[0]) + 1e-9
    assert ticks[0] <= min(values) + slack
    assert max(values) <= ticks[-1] + slack


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.65, 47.5], [0, 20, 40, 60]),
        ([0.012, 0.019], [0.01, 0.015, 0.02]),
        ([3.0], [3.0, 4.0]),
        ([0.0], [0.0, 0.5]),
    ],
)
def test_ticks_are_round(values: list[float], expected: list[float]) -> None:
    assert ticks_over(values) == expected
