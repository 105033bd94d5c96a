"""Keys and values that grow in place are those that the library's own layer holds."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from dspy_greater.model.cache import ROOM, roomy

SHAPE = {"heads": 2, "size": 3}


@given(st.lists(st.tuples(st.integers(1, ROOM + 9), st.booleans()), min_size=1, max_size=9))
def test_grows_and_lets_rows_go_as_the_librarys_own_does(steps: list[tuple[int, bool]]) -> None:
    torch.manual_seed(len(steps))
    ours, its, rows = roomy(), DynamicCache(), 5
    for tokens, leaves in steps:
        shape = (rows, SHAPE["heads"], tokens, SHAPE["size"])
        keys, values = torch.randn(shape), torch.randn(shape)
        for found, expected in zip(
            ours.update(keys, values, 0), its.update(keys, values, 0), strict=True
        ):
            assert torch.equal(found, expected)
        if leaves and rows > 1:
            rows -= 1
            kept = torch.randperm(rows + 1)[:rows]
            ours.batch_select_indices(kept)
            its.batch_select_indices(kept)
    assert ours.get_seq_length() == its.get_seq_length() == sum(tokens for tokens, _ in steps)


def test_tokens_are_put_where_there_is_room() -> None:
    """Nothing that is held is copied until the room is full."""
    cache, one = roomy(), torch.ones(1, 1, 1, 2)
    places = [cache.update(one, one, 0)[0].data_ptr() for _ in range(ROOM + 2)]
    assert len(set(places[:-1])) == 1
    assert places[-1] != places[0]
