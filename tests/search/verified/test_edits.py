"""Edits of tokens: what they leave, and how two of them go together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.search.verified.edits import Edit, merges, small_edits

TOKENS = tuple(range(10, 18))


@st.composite
def edits(draw: st.DrawFn) -> Edit:
    start = draw(st.integers(0, len(TOKENS)))
    end = draw(st.integers(start, len(TOKENS)))
    return Edit("replace", start, end, tuple(draw(st.lists(st.integers(100, 105), max_size=3))))


def marked(edit: Edit, start: int) -> Edit:
    """The edit with tokens by which it is recognised."""
    return Edit(edit.kind, edit.start, edit.end, tuple(range(start, start + len(edit.tokens))))


@given(edits(), edits())
def test_edits_of_different_places_commute(first: Edit, second: Edit) -> None:
    first, second = marked(first, 200), marked(second, 300)
    then_second, then_first = second.after(first), first.after(second)
    apart = first.end < second.start or second.end < first.start
    if apart:
        assert then_second is not None
        assert then_first is not None
        assert then_second.apply(first.apply(TOKENS)) == then_first.apply(second.apply(TOKENS))


@given(edits(), edits())
def test_edits_that_overlap_do_not_go_together(first: Edit, second: Edit) -> None:
    if max(first.start, second.start) < min(first.end, second.end):
        assert second.after(first) is None


@given(edits())
def test_an_edit_keeps_what_it_does_not_touch(edit: Edit) -> None:
    result = edit.apply(TOKENS)
    assert result[: edit.start] == TOKENS[: edit.start]
    assert result[edit.start + len(edit.tokens) :] == TOKENS[edit.end :]


def test_merges_of_three_edits_begin_with_all_together() -> None:
    several = [Edit("replace", 0, 1, (1,)), Edit("insert", 4, 4, (2,)), Edit("delete", 6, 7, ())]
    everything, *pairs = merges(several, TOKENS)
    assert everything == (1, 11, 12, 13, 2, 14, 15, 17)
    assert (1, 11, 12, 13, 2, 14, 15, 16, 17) in pairs
    assert len(pairs) == 3


def test_an_edit_of_a_place_already_edited_is_left_out_of_a_merge() -> None:
    several = [Edit("replace", 2, 3, (1,)), Edit("replace", 2, 3, (2,)), Edit("insert", 0, 0, (3,))]
    everything = merges(several, TOKENS)[0]
    assert everything == (3, 10, 11, 1, 13, 14, 15, 16, 17)


def test_deletions_and_swaps_of_every_place() -> None:
    made = [edit.apply((1, 2, 2)) for edit in small_edits((1, 2, 2))]
    assert made == [(2, 2), (1, 2), (1, 2), (2, 1, 2)]
    assert small_edits((1,)) == []
