"""A cache that keeps room holds the same keys and values as the library's own."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from dspy_greater.model.prefix import ROOM, RoomyCache


def chunk(rows: int, time: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, rows, 2, time, 4, generator=source)
    return keys, values


@given(st.integers(1, 3), st.lists(st.integers(1, 2 * ROOM), min_size=1, max_size=6))
def test_holds_what_the_plain_cache_holds(rows: int, times: list[int]) -> None:
    plain, roomy = DynamicCache(), RoomyCache()
    for number, time in enumerate(times):
        for layer in range(2):
            keys, values = chunk(rows, time, 10 * number + layer)
            expected = plain.update(keys, values, layer)
            for left, right in zip(roomy.update(keys, values, layer), expected, strict=True):
                assert torch.equal(left, right)
        assert roomy.get_seq_length() == plain.get_seq_length() == sum(times[: number + 1])


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4), st.integers(1, 2 * ROOM))
def test_keeps_some_rows_and_goes_on(kept: list[int], more: int) -> None:
    plain, roomy = DynamicCache(), RoomyCache()
    for cache in (plain, roomy):
        cache.update(*chunk(4, 5, 0), 0)
        cache.batch_select_indices(torch.tensor(kept))
    for seed, time in enumerate((1, more)):
        keys, values = chunk(len(kept), time, seed)
        expected = plain.update(keys, values, 0)
        for left, right in zip(roomy.update(keys, values, 0), expected, strict=True):
            assert torch.equal(left, right)


def test_single_tokens_are_added_without_copying_the_rest() -> None:
    cache = RoomyCache()
    first, _ = cache.update(*chunk(2, 5, 0), 0)
    for step in range(ROOM):
        keys, _ = cache.update(*chunk(2, 1, step), 0)
        assert keys.data_ptr() == first.data_ptr()
    keys, _ = cache.update(*chunk(2, 1, ROOM), 0)
    assert keys.data_ptr() != first.data_ptr()
    assert torch.equal(keys[..., :5, :], first)
