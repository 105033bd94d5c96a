"""Vouching: a paired difference has to exceed its own noise."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.search import compare

scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


def test_a_clear_gain_is_vouched_for() -> None:
    assert compare([1.0] * 10, [0.0] * 6 + [1.0] * 4).exceeds(2.0)


def test_one_lucky_example_is_not_enough() -> None:
    assert not compare([1.0], [0.0]).exceeds(1.0)
    assert not compare([1.0] + [0.0] * 19, [0.0] * 20).exceeds(1.0)


def test_a_tie_is_no_gain() -> None:
    assert not compare([1.0, 0.0], [0.0, 1.0]).exceeds(0.0)
    assert not compare([1.0, 1.0], [1.0, 1.0]).exceeds(0.0)


def test_coin_flips_seldom_pass() -> None:
    rng = random.Random(0)
    flips = [[float(rng.random() < 0.5) for _ in range(40)] for _ in range(800)]
    passed = sum(compare(a, b).exceeds(2.0) for a, b in zip(flips[::2], flips[1::2], strict=True))
    assert passed / 400 < 0.05


@given(scores)
def test_swapping_the_sides_turns_the_gain_around(pairs: list[tuple[float, float]]) -> None:
    new, old = zip(*pairs, strict=True)
    there, back = compare(new, old), compare(old, new)
    assert there.gain == pytest.approx(-back.gain)
    assert there.standard_error == pytest.approx(back.standard_error)
    assert not (there.exceeds(0.0) and back.exceeds(0.0))


def test_lists_of_different_examples_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="equally long"):
        compare([1.0], [])
