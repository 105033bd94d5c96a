"""What a compile may still spend, turn by turn."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.cost import Bounds, Budget, Counts, Meter

NAMES = ("first", "second", "third")


class Shared:
    """Predictors that share bounds on metric calls, of which the verdict takes some."""

    def __init__(self, most: int, kept_back: int = 0) -> None:
        self.meter = Meter()
        self.waiting: Sequence[str] = NAMES
        bounds = Bounds(max_metric_calls=most)
        self.budget = Budget(bounds, self.meter, lambda: self.waiting, lambda: kept_back)
        for name in NAMES:
            self.meter.turn(name)

    def spend(self, name: str, runs: int) -> None:
        self.meter.turn(name)
        with self.meter.running():
            for _ in range(runs):
                self.meter.book_run({})

    def over(self, name: str, waiting: Sequence[str]) -> str:
        self.waiting = waiting
        self.budget.turn(name)
        return self.budget.over(1)


def test_what_one_leaves_goes_to_the_others() -> None:
    shared = Shared(90)
    shared.spend("first", 29)
    assert shared.over("first", NAMES) == ""
    shared.spend("first", 1)
    assert shared.over("first", NAMES) == "max_metric_calls=30 reached"
    shared = Shared(90)
    shared.spend("first", 10)  # and ends by itself
    # 80 are left for two: either may spend 40 on top of the 10 that are gone.
    shared.spend("second", 39)
    assert shared.over("second", NAMES[1:]) == ""
    shared.spend("second", 1)
    assert shared.over("second", NAMES[1:]) == "max_metric_calls=50 reached"
    assert shared.over("third", NAMES[1:]) == ""
    shared.spend("third", 39)
    assert shared.over("third", NAMES[2:]) == ""
    shared.spend("third", 1)
    assert shared.over("third", NAMES[2:]) == "max_metric_calls=90 reached"


def test_what_the_verdict_takes_is_kept_back() -> None:
    shared = Shared(100, kept_back=10)
    shared.over("third", ("third",))
    shared.spend("third", 60)
    assert shared.budget.affordable() == 30
    assert shared.budget.over(30) == ""
    assert shared.budget.over(31) == "max_metric_calls=100 reached"


def test_a_run_costs_what_runs_did_before_the_turn() -> None:
    meter = Meter()
    budget = Budget(Bounds(max_tokens=100), meter, lambda: ["one"], lambda: 2)
    meter.turn("one")
    with meter.running():
        meter.book(Counts(tokens_prompt=20))
        for _ in range(2):
            meter.book_run({})
    budget.turn("one")
    assert budget.affordable() == (100 - 20 - 2 * 10) / 10
    meter.book(Counts(tokens_prompt=30))  # of no run: the price stays
    budget.turn("one")
    assert budget.affordable() == (100 - 50 - 2 * 10) / 10


def test_runs_that_cost_more_than_those_before_are_reckoned_with_within_the_turn() -> None:
    meter = Meter()
    budget = Budget(Bounds(max_tokens=1000), meter, lambda: ["one"], lambda: 2)

    def run(tokens: int) -> None:
        with meter.running():
            meter.book(Counts(tokens_prompt=tokens))
            meter.book_run({})

    meter.turn("one")
    run(10)
    budget.turn("one")
    run(30)  # the verdict's two are reckoned at the price of before
    assert budget.affordable() == (1000 - 40 - 2 * 10) / 30
    run(2)
    assert budget.affordable() == (1000 - 42 - 2 * 10) / 16
    run(0)
    run(0)  # cheaper ones do not lower the price
    assert budget.affordable() == (1000 - 42 - 2 * 10) / 10
    assert budget.left() == (1000 - 42) / 10
    run(158)
    assert budget.left() == (1000 - 200) / 38


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 40)), max_size=30))
def test_together_they_never_spend_more_than_one_step_each_beyond_the_bounds(
    steps: list[tuple[str, int]],
) -> None:
    shared, last = Shared(100), dict.fromkeys(NAMES, 0)
    for name, cost in steps:
        if not shared.over(name, NAMES):
            shared.spend(name, cost)
            last[name] = cost
    spent = shared.meter.total().metric_calls
    assert spent <= 102 + sum(last.values())  # parts are rounded up
