"""A text ends where its first JSON object is closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.model.rows import ObjectEnd
from tests.support.thinkers import reciting, thinking_tokenizer

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='{}[]"\\ ,:aé漢\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('{}"\\a'), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text('{}"\\a'), VALUES, max_size=3)
PROSE = st.text(alphabet='} "\\,:aé\n', max_size=12)  # all but what opens an object


@given(OBJECTS, PROSE, st.text(max_size=12), st.booleans(), st.booleans(), st.randoms())
def test_it_ends_with_the_object_wherever_pieces_part(
    value: dict[str, Any], before: str, after: str, indented: bool, escaped: bool, chance: Any
) -> None:
    written = json.dumps(value, indent=2 if indented else None, ensure_ascii=escaped)
    text, last, end = before + written + after, len(before + written) - 1, ObjectEnd()
    at = 0
    while at < len(text):
        piece = text[at : at + chance.randint(1, 5)]
        closes = at <= last < at + len(piece)
        assert end.read(piece) == closes
        if closes:
            return
        at += len(piece)
    pytest.fail("the object was not seen to end")


@pytest.mark.parametrize("text", ["no object at all }", '{"answer": "open', ""])
def test_no_object_ends_where_none_is_closed(text: str) -> None:
    assert not ObjectEnd().read(text)


def recited(text: str) -> tuple[WhiteBox, list[int]]:
    """A model that writes a text, and the token after which it does."""
    tokenizer = thinking_tokenizer()
    script = tokenizer(text, add_special_tokens=False)["input_ids"]
    return reciting(tokenizer, script), script[:1]


def test_nothing_is_written_behind_the_object() -> None:
    white_box, begin = recited("a{b:c}xyz<|im_end|>")
    settings = [Sampling(20, json_object=True), Sampling(20), Sampling(3, json_object=True)]
    ended, whole, cut = white_box.generate([begin] * 3, settings)
    assert (ended.text, ended.finish) == ("{b:c}", "stop")
    assert (whole.text, whole.finish) == ("{b:c}xyz", "stop")
    assert ended.ids == whole.ids[: len(ended.ids)]
    assert (cut.ids, cut.finish) == (whole.ids[:3], "length")


def test_an_object_in_what_is_thought_ends_nothing() -> None:
    white_box, begin = recited("<think>{b:c}</think>xyz<|im_end|>")
    answered, whole = white_box.generate(
        [begin] * 2, [Sampling(20, json_object=True), Sampling(20)]
    )
    assert answered == whole
    assert (answered.thinking, answered.text) == ("{b:c}", "xyz")
