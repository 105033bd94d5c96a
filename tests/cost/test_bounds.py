"""Bounds of a compile and their shares."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.cost import Bounds, Spent


def test_the_first_bound_that_is_reached_ends_the_search_and_is_the_reason() -> None:
    bounds = Bounds(max_metric_calls=10, max_seconds=5.0)
    assert bounds(Spent(9, 10**9, 4.9)) == ""
    assert bounds(Spent(10, 0, 0.0)) == "max_metric_calls=10 reached"
    assert bounds(Spent(0, 0, 5.0)) == "max_seconds=5.0 reached"
    assert bounds(Spent(99, 0, 99.0)) == "max_metric_calls=10 reached"


def test_without_bounds_nothing_ends() -> None:
    none = Bounds()
    assert not none
    assert none(Spent(10**9, 10**9, 1e9)) == str(none) == ""
    assert none.share(3, Spent()) == none
    assert none.runs(Spent(9, 9, 9.0), Spent(1, 1, 1.0)) == math.inf
    assert none.used(Spent(9, 9, 9.0)) == 0


def test_what_is_left_is_shared_evenly() -> None:
    bounds = Bounds(max_tokens=100)
    assert bounds.share(2, Spent()) == Bounds(max_tokens=50)
    # The first was thrifty: the second has the rest.
    assert bounds.share(1, Spent(tokens=30)) == bounds


def test_one_that_overdrew_leaves_less_to_the_others() -> None:
    bounds = Bounds(max_tokens=90)
    assert bounds.share(2, Spent(tokens=50)) == Bounds(max_tokens=70)
    assert bounds.share(2, Spent(tokens=95))(Spent(tokens=95)) == "max_tokens=90 reached"


@given(limit=st.integers(1, 10**9), used=st.integers(0, 10**9), parts=st.integers(2, 9))
def test_a_share_is_never_more_than_the_whole_and_of_the_same_cost(
    limit: int, used: int, parts: int
) -> None:
    whole = Bounds(max_tokens=limit)
    share = whole.share(parts, Spent(tokens=used, metric_calls=3, seconds=7.0))
    assert share.max_tokens is not None
    assert share == Bounds(max_tokens=share.max_tokens)
    assert min(limit, used) <= share.max_tokens <= max(limit, used)


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), True, "10"])
def test_a_bound_is_a_number_above_zero(value: Any) -> None:
    with pytest.raises(ValueError, match="max_tokens must be a number above 0"):
        Bounds(max_tokens=value)
    with pytest.raises(ValueError, match="max_seconds must be a number above 0"):
        Bounds(max_seconds=value)


def test_they_are_the_optimizers_arguments() -> None:
    given: dict[str, Any] = {"max_metric_calls": 5, "max_tokens": None, "max_seconds": 0.5}
    bounds = Bounds(**given)
    assert vars(bounds) == given
    assert str(bounds) == "max_metric_calls=5, max_seconds=0.5"


@pytest.mark.parametrize(
    ("limits", "runs", "used"),
    [
        ({"max_metric_calls": 40}, 30, 0.25),
        ({"max_metric_calls": 40, "max_tokens": 250}, 5, 0.8),
        ({"max_seconds": 4}, 0, 1.25),
    ],
)
def test_for_how_many_runs_is_left(limits: dict[str, Any], runs: float, used: float) -> None:
    spent = Spent(10, 200, 5.0)
    assert Bounds(**limits).runs(spent, Spent(1, 10, 0.5)) == runs
    assert Bounds(**limits).used(spent) == used
