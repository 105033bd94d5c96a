"""Numbers read well at every size."""

from __future__ import annotations

import pytest

from dspy_greater.report import text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (text.percent(0.1875), "18.8%"),
        (text.percent(None), "—"),
        (text.duration(41.23), "41.2 s"),
        (text.duration(140), "2 min 20 s"),
        (text.duration(119.7), "2 min 0 s"),
        (text.duration(4000), "1 h 6 min"),
        (text.verdict(0.0, 1.0), "wrong → right"),
        (text.verdict(1.0, 0.25), "right → 25.0%"),
    ],
)
def test_numbers_in_words(written: str, expected: str) -> None:
    assert written == expected
