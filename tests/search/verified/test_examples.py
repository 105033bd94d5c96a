"""Instructions that show worked examples."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.search.verified.examples import HEADER, SIZES, apart, with_examples

RNG = random.Random(0)


def test_examples_stand_behind_the_words() -> None:
    (text,) = with_examples("Add.", ["question: 1 + 2?\nanswer: 3"], 8, RNG)
    assert text == "Add.\n\nFor example:\n\nquestion: 1 + 2?\nanswer: 3"


def test_more_examples_stand_behind_those_that_are_there() -> None:
    shown = f"Add.{HEADER}answer: 3"
    assert with_examples(shown, ["answer: 3", "answer: 4"], 8, RNG) == [f"{shown}\n\nanswer: 4"]
    assert with_examples(shown, ["answer: 3"], 8, RNG) == []


def test_without_examples_there_is_nothing_to_show() -> None:
    assert with_examples("Add.", [], 8, RNG) == []


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 9))
def test_sets_are_of_several_sizes_and_show_no_example_twice(
    size: int, count: int, seed: int
) -> None:
    worked = [f"answer: <{number}>" for number in range(size)]
    found = with_examples("Add.", worked, count, random.Random(seed))
    assert len(found) == len(set(found)) <= count
    for text in found:
        words, shown = apart(text)
        assert words == "Add."
        rows = shown.removeprefix(HEADER).split("\n\n")
        assert len(rows) == len(set(rows)) in SIZES
        assert set(rows) <= set(worked)
    assert found == with_examples("Add.", worked, count, random.Random(seed))


@given(st.text("ab \n.", max_size=30), st.lists(st.text("cd:", min_size=1), max_size=3))
def test_an_instruction_is_its_words_and_its_examples(words: str, worked: list[str]) -> None:
    for text in with_examples(words, worked, 8, RNG):
        assert "".join(apart(text)) == text
    assert apart(words) == (words, "")
