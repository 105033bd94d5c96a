"""Shares of the gradient, by token."""

from __future__ import annotations

import pytest

from dspy_greater.report.heat import rows
from tests.support.records import improved, outcome


def test_shares_of_each_example_and_their_mean() -> None:
    mean, first, second = rows(improved().outcomes[0])  # the third has no gradient at all
    assert [token.text for token in mean.tokens] == [
        " Count",
        ",",
        " then answer",
        " it",
        " slowly.",
    ]
    assert [token.share for token in first.tokens] == [0.75, 0.25, 0, 0, 0]
    assert [token.share for token in second.tokens] == [0.5, 0, 0.5, 0, 0]
    # A gradient that is a millionth of another counts as much.
    assert [token.share for token in mean.tokens] == [0.625, 0.125, 0.25, 0, 0]
    assert [token.heat for token in mean.tokens] == pytest.approx([1, 0.2, 0.4, 0, 0])
    assert (first.total, first.example.index) == (4.0, 0)
    assert (second.total, second.example.index) == (2e-6, 2)


def test_without_gradients_there_is_no_map() -> None:
    assert rows(outcome()) == []
