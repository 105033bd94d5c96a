"""Acceptance: a paired difference has to exceed its own noise."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.search import Comparison, Program, choose, compare
from tests.support.fakes import toy

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def exceeds(comparison: Comparison, multiple: float) -> bool:
    return comparison.gain > max(0.0, multiple * comparison.standard_error)


def test_a_clear_gain_is_accepted() -> None:
    assert exceeds(compare([1.0] * 10, [0.0] * 6 + [1.0] * 4), 2.0)


def test_one_lucky_example_is_not_enough() -> None:
    assert not exceeds(compare([1.0], [0.0]), 1.0)
    assert not exceeds(compare([1.0] + [0.0] * 19, [0.0] * 20), 1.0)


def test_a_tie_is_no_gain() -> None:
    assert not exceeds(compare([1.0, 0.0], [0.0, 1.0]), 0.0)
    assert not exceeds(compare([1.0, 1.0], [1.0, 1.0]), 0.0)


def test_coin_flips_seldom_pass() -> None:
    rng = random.Random(0)
    flips = [[float(rng.random() < 0.5) for _ in range(40)] for _ in range(800)]
    passed = sum(exceeds(compare(a, b), 2.0) for a, b in zip(flips[::2], flips[1::2], strict=True))
    assert passed / 400 < 0.05


@given(scores)
def test_swapping_the_sides_turns_the_gain_around(pairs: list[tuple[float, float]]) -> None:
    new, old = zip(*pairs, strict=True)
    there, back = compare(new, old), compare(old, new)
    assert there.gain == pytest.approx(-back.gain)
    assert there.standard_error == pytest.approx(back.standard_error)
    assert not (exceeds(there, 0.0) and exceeds(back, 0.0))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_the_p_value_is_that_of_all_assignments_of_signs(differences: list[int]) -> None:
    signs = itertools.product((1, -1), repeat=len(differences))
    sums = [sum(s * d for s, d in zip(each, differences, strict=True)) for each in signs]
    expected = sum(total >= sum(differences) for total in sums) / len(sums)
    p_value = compare([float(d) for d in differences], [0.0] * len(differences)).p_value
    assert p_value == pytest.approx(expected)


def test_many_pairs_give_nearly_the_exact_p_value() -> None:
    wins, pairs = 15, 20
    exact = sum(math.comb(pairs, k) for k in range(wins, pairs + 1)) / 2**pairs
    p_value = compare([1.0] * wins + [0.0] * 5, [0.0] * wins + [1.0] * 5).p_value
    assert p_value == pytest.approx(exact, abs=0.005)


OLD, NEW, OTHER = toy("read"), toy("count"), toy("guess")


def test_every_look_that_does_otherwise_raises_the_bar() -> None:
    start, better = [0.0] * 8, [1.0] * 5 + [0.0] * 3  # p = 1/32
    alone = choose({OLD: start, NEW: better}, OLD, 0.95)
    assert (alone.program, alone.looks, alone.p_value) == (NEW, 1, 1 / 32)
    # One that does the very same adds no chance, one that is right elsewhere does.
    assert choose({OLD: start, NEW: better, OTHER: better}, OLD, 0.95).p_value == 1 / 32
    elsewhere = [0.0] * 3 + [1.0] * 5
    verdict = choose({OLD: start, NEW: better, OTHER: elsewhere}, OLD, 0.95)
    assert (verdict.program, verdict.looks, verdict.p_value) == (OLD, 2, 1.0)
    assert 1 / 32 < choose({OLD: start, NEW: better, OTHER: elsewhere}, OLD, 0.9).p_value < 0.1


def test_one_example_more_is_a_toss_up_and_two_are_likelier_than_not() -> None:
    start, one, two = [0.0] * 9, [1.0] + [0.0] * 8, [1.0, 1.0] + [0.0] * 7
    assert choose({OLD: start, NEW: one}, OLD, 0.5).program == OLD
    assert choose({OLD: start, NEW: two}, OLD, 0.5).program == NEW


def test_pure_luck_passes_no_more_often_than_the_confidence_allows() -> None:
    rng = random.Random(0)
    changed = 0
    for _ in range(400):
        flips = [[float(rng.random() < 0.5) for _ in range(32)] for _ in range(4)]
        validated = dict(zip((OLD, NEW, OTHER, toy("items")), flips, strict=True))
        changed += choose(validated, OLD, 0.8).program != OLD
    assert 0.1 < changed / 400 < 0.24


def test_a_choice_by_luck_is_expected_to_gain_nearly_nothing() -> None:
    rng = random.Random(0)
    seen, expected = [], []
    for _ in range(100):
        flips = [[float(rng.random() < 0.5) for _ in range(40)] for _ in range(4)]
        validated = dict(zip((OLD, NEW, OTHER, toy("items")), flips, strict=True))
        verdict = choose(validated, OLD, 0.8)
        if verdict.program != OLD:
            seen.append(verdict.comparison.gain)
            expected.append(verdict.expected_gain)
    assert sum(expected) / len(expected) < 0.75 * sum(seen) / len(seen)
    sure = choose({OLD: [0.0] * 40, NEW: [1.0] * 40}, OLD, 0.8)
    assert sure.expected_gain == pytest.approx(1.0)
    # A record is plain data: it is read where there is no numpy.
    assert {type(value) for value in (sure.expected_gain, sure.p_value)} == {float}


def test_examples_that_it_would_take_to_be_sure() -> None:
    wins = compare([1.0] * 30 + [0.0] * 70, [0.0] * 20 + [0.0] * 70 + [1.0] * 10)
    needed = wins.examples_needed(100)
    # Wins on 30 and losses on 10 of 100: n = (2.49 sd / gain)^2 with sd = 0.6, gain = 0.2.
    assert needed == pytest.approx((2.487 * 0.6 / 0.2) ** 2, rel=0.05)
    assert compare([0.0], [1.0]).examples_needed(1) is None


def test_the_best_of_the_proven_is_chosen() -> None:
    scores = {OLD: [0.0] * 9, NEW: [1.0] * 7 + [0.0] * 2, OTHER: [1.0] * 9}
    verdict = choose(scores, OLD, 0.95)
    assert verdict.program == OTHER
    assert verdict.comparison.gain == 1.0
    assert verdict.p_value == pytest.approx(1 / 2**9)


def test_among_equals_the_first_is_chosen() -> None:
    scores = {OLD: [0.0] * 9, OTHER: [1.0] * 9, NEW: [1.0] * 9}
    assert choose(scores, OLD, 0.95).program == OTHER


def test_chance_is_seldom_chosen_however_often_it_is_looked_at() -> None:
    rng = random.Random(0)
    runs: list[dict[Program, list[float]]] = [
        {toy(f"text {i}"): [float(rng.random() < 0.5) for _ in range(32)] for i in range(8)}
        for _ in range(200)
    ]
    changed = sum(choose(run, toy("text 0"), 0.95).program != toy("text 0") for run in runs)
    assert changed / len(runs) <= 0.05


def test_lists_of_different_examples_cannot_be_compared() -> None:
    for new in ([], [1.0]):
        with pytest.raises(ValueError, match=r"empty|shorter"):
            compare(new, [])


BOTH, FIRST, SECOND = toy("b", other="b"), toy("b", other="a"), toy("a", other="b")
START, NONE, ALL = toy("a", other="a"), [0.0] * 10, [1.0] * 10


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (ALL, NONE, FIRST),  # the second change does nothing
        (NONE, ALL, SECOND),
        (ALL, ALL, SECOND),  # each does it alone: the first is taken back first
        (NONE, NONE, BOTH),  # they help together
        ([1.0] * 9 + [0.0], NONE, FIRST),  # worse, by one example that may be chance
        ([1.0] * 5 + [0.0] * 5, NONE, BOTH),  # surely worse
    ],
)
def test_a_change_without_which_a_program_is_not_surely_worse_is_put_back(
    first: list[float], second: list[float], kept: Program
) -> None:
    scores = {START: NONE, BOTH: ALL, FIRST: first, SECOND: second}
    verdict = choose(scores, START, 0.8, put_back=[FIRST, SECOND])
    assert verdict.program == kept
    assert verdict.put_back == tuple(name for name in BOTH if BOTH[name] != kept[name])
    assert verdict.looks == 1  # those that were put back into were no chance to be lucky


def test_what_is_left_has_to_beat_the_start_itself() -> None:
    scores = {START: NONE, BOTH: [1.0] * 3 + [0.0] * 7, FIRST: [1.0] * 2 + [0.0] * 8}
    assert choose(scores, START, 0.8, put_back=[FIRST]).program == BOTH
    assert choose(scores, START, 0.7, put_back=[FIRST]).program == FIRST


def test_nothing_is_put_back_where_nothing_is_better() -> None:
    scores = {START: ALL, BOTH: NONE, FIRST: [1.0] * 10}
    assert choose(scores, START, 0.8, put_back=[FIRST]).put_back == ()


def test_a_change_that_does_nothing_seldom_stays_by_chance() -> None:
    rng, stays = random.Random(0), 0
    for _ in range(100):
        noisy = {p: [float(rng.random() < 0.9) for _ in range(20)] for p in (BOTH, FIRST)}
        scores = {START: [0.0] * 20, **noisy}
        stays += choose(scores, START, 0.8, put_back=[FIRST]).program == BOTH
    assert stays <= 25
