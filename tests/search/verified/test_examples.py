"""Instructions that show worked examples."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.program import Run
from dspy_greater.search.verified.examples import HEADER, SIZES, apart, with_examples, worked
from tests.support.fakes import FakeView, run_of

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


class Reasoning(FakeView):
    """A predictor of the toy world that reasons, and writes something else than the label."""

    fields = ("reasoning", "answer")

    def output_texts(self, run: Run) -> dict[str, str]:
        return {"reasoning": "It is plain.", "answer": "about right"}


def worked_by(view: FakeView, scores: Sequence[float], instruction: str = "read") -> list[str]:
    """Return worked examples after runs with these scores."""
    runs = [run_of(index, score) for index, score in enumerate(scores)]
    examples = range(len(scores))
    return worked(view, examples, runs, view.answers(instruction, runs, examples))


def reasoned(index: int) -> str:
    return f"index: {index}\nreasoning: It is plain.\nanswer: {index}"


def test_a_label_is_all_that_is_to_be_shown_of_a_predictor_that_writes_nothing_else() -> None:
    assert worked_by(FakeView(), [1.0, 0.0]) == ["index: 0\nanswer: 0", "index: 1\nanswer: 1"]


def test_runs_that_were_right_show_their_reasoning_and_the_label() -> None:
    assert worked_by(Reasoning(), [1.0, 0.0, 1.0, 1.0, 1.0]) == [reasoned(i) for i in (0, 2, 3, 4)]


def test_where_few_were_right_those_are_added_whose_reasoning_makes_the_label_likeliest() -> None:
    scores = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    # Under "count" the first examples' labels are the likeliest, under "guess" the last ones'.
    assert worked_by(Reasoning(), scores, "count") == [reasoned(i) for i in (2, 0, 1, 3)]
    assert worked_by(Reasoning(), scores, "guess") == [reasoned(i) for i in (2, 5, 4, 3)]


def test_what_cannot_be_shown_whole_is_not_shown() -> None:
    class Unreadable(Reasoning):
        def output_texts(self, run: Run) -> dict[str, str]:
            return {}

    class Skipped(FakeView):
        def texts(self, index: int) -> dict[str, str]:
            return {"index": str(index) if index else ""}

    assert worked_by(Unreadable(), [0.0, 0.0]) == []
    assert worked_by(Skipped(), [0.0, 0.0]) == ["index: 1\nanswer: 1"]
