"""Who has spent what, and how far each may go."""

from __future__ import annotations

from typing import Any

import pytest
from dspy_greater.search.accounts import COSTS
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.search import Accounts, Budget


class Meter:
    """What a compile has cost so far, all of it by runs that cost the same."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> dict[str, float]:
        return {"metric_calls": self.runs, "tokens": 10 * self.runs, "seconds": self.runs / 2}


def accounts(**limits: Any) -> tuple[Meter, Accounts]:
    meter = Meter()
    return meter, Accounts(Budget(**limits), meter, ["first", "second", "third"])


def test_what_was_spent_since_the_last_time_is_paid_once() -> None:
    meter, book = accounts()
    meter.runs = 3
    assert book.pay("first") == {"metric_calls": 3, "tokens": 30, "seconds": 1.5}
    assert book.pay("second") == dict.fromkeys(COSTS, 0)
    meter.runs = 5
    book.pay("first")
    assert book.spent["first"] == {"metric_calls": 5, "tokens": 50, "seconds": 2.5}


def test_what_one_leaves_goes_to_the_others() -> None:
    meter, book = accounts(max_metric_calls=90)
    everyone = ["first", "second", "third"]
    assert book.bound(everyone) == Budget(max_metric_calls=30)
    meter.runs = 10
    book.pay("first")
    # 80 are left for two: either may spend 40 on top of the 10 that are gone.
    assert book.bound(["second", "third"]) == Budget(max_metric_calls=50)
    meter.runs = 49
    book.pay("second")
    assert book.over("second", ["second", "third"]) == ""
    meter.runs = 50
    book.pay("second")
    assert book.over("second", ["second", "third"]) == "max_metric_calls=50 reached"
    assert book.over("third", ["second", "third"]) == ""
    assert book.bound(["third"]) == Budget(max_metric_calls=90)


@pytest.mark.parametrize(
    ("limits", "count"),
    [
        ({}, 7),
        ({"max_metric_calls": 40}, 4),  # a part of 10 pays for five of two, one of which is paid
        ({"max_metric_calls": 40, "max_tokens": 241}, 2),
        ({"max_seconds": 4}, 0),
    ],
)
def test_how_many_an_even_part_pays_for(limits: dict[str, Any], count: int) -> None:
    cost = {"metric_calls": 2, "tokens": 20, "seconds": 1.0}
    assert accounts(**limits)[1].affordable(7, cost, parts=4) == count


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=30))
def test_together_they_never_spend_more_than_one_step_each_beyond_the_budget(
    steps: list[tuple[int, int]],
) -> None:
    meter, book = accounts(max_metric_calls=100)
    names, last = list(book.spent), dict.fromkeys(book.spent, 0)
    for who, cost in steps:
        if book.over(names[who], names):
            continue
        meter.runs += cost
        book.pay(names[who])
        last[names[who]] = cost
    assert meter.runs <= 102 + sum(last.values())  # parts are rounded up
