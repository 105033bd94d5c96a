"""The word diff shows what changed, and loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.report.diff import Stretch, history, words
from dspy_greater.report.page import page
from tests.support.records import BEST, BETTER, START, improved, kept, several

TEXTS = st.lists(
    st.sampled_from(
        ["Read", "read", " ", "\n", "  ", ".", ", ", "the", "答", "案", "né", "_a", "7"]
    )
    | st.text(max_size=3),
    max_size=12,
).map("".join)


def told(stretches: list[Stretch]) -> str:
    marks = {"same": "{}", "deleted": "[-{}-]", "inserted": "[+{}+]"}
    return "".join(marks[each.kind].format(each.text) for each in stretches)


@given(before=TEXTS, after=TEXTS)
def test_both_texts_can_be_put_together_again(before: str, after: str) -> None:
    stretches = words(before, after)
    assert "".join(s.text for s in stretches if s.kind != "inserted") == before
    assert "".join(s.text for s in stretches if s.kind != "deleted") == after


@given(text=TEXTS)
def test_a_text_differs_from_itself_nowhere(text: str) -> None:
    assert {stretch.kind for stretch in words(text, text)} <= {"same"}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("Read it all.", "Read it twice.", "Read it [-all-][+twice+]."),
        ("Read it.", "Read it. Then write.", "Read it.[+ Then write.+]"),
        ("Read it, slowly.", "Read it.", "Read it[-, slowly-]."),
        ("Read it.", "Read it", "Read it[-.-]"),
        ("请读问题。", "请看问题。", "请[-读-][+看+]问题。"),
        # A full stop and an article in common are no reason to chop a new text into words.
        (
            "Read the question and answer it.",
            "Let us work step by step. Track the coordinates on a grid.",
            "[-Read the question and answer it.-]"
            "[+Let us work step by step. Track the coordinates on a grid.+]",
        ),
        ("", "Read.", "[+Read.+]"),
    ],
)
def test_words_are_deleted_and_inserted(before: str, after: str, expected: str) -> None:
    assert told(words(before, after)) == expected


def test_the_history_goes_from_one_accepted_instruction_to_the_next() -> None:
    first, second = history(improved(), "predict")
    assert (first.candidate.instruction, second.candidate.instruction) == (BETTER, BEST)
    assert told(first.stretches) == "Answer it[+ slowly+]."
    assert told(second.stretches) == "[-Answer-][+Count, then answer+] it slowly."
    assert history(several(), "judge") == []


def test_the_whole_change_is_that_of_the_program() -> None:
    assert "<del>Answer</del><ins>Count, then answer</ins> it<ins> slowly</ins>." in page(
        improved()
    )
    assert words(kept().outcomes[0].before, kept().outcomes[0].after) == [Stretch("same", START)]
