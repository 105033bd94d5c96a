"""What a model keeps of rows that it writes, with room behind it for what is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

#: Tokens for which there is room before all is copied again.
ROOM = 64


class RoomyLayer(DynamicLayer):
    """A layer's keys and values, ``[batch, heads, tokens, size]``, which grow in place.

    The library's own copies all of them for every token, on a CPU a tenth of a decoding step of 40
    rows behind 400 tokens. No gradient goes through.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put keys and values behind those held, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = behind(self.keys, key_states)
        self.values = behind(self.values, value_states)
        return self.keys, self.values


def behind(held: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Return what is held with the new behind it, as a view of where there is room for more."""
    length = held.shape[-2] if held.numel() else 0
    total, room = length + new.shape[-2], held._base
    # Whatever else is done to the layer, as selecting rows, makes tensors without a base.
    if room is None or room.shape[-2] < total:
        room = new.new_empty(*new.shape[:-2], total + ROOM, new.shape[-1])
        if length:
            room[..., :length, :] = held
    room[..., length:total, :] = new
    return room[..., :total, :]


def roomy() -> DynamicCache:
    """Return an empty cache whose layers grow in place."""
    cache = DynamicCache()
    cache.layer_class_to_replicate = RoomyLayer
    return cache


@dataclass(frozen=True)
class Batch:
    """Rows that are being written, padded on the left or in between.

    Attributes:
        ids: ``[batch, width]``; only what the cache does not hold of them is read.
        mask: The same shape, 1 where there is no padding.
        cache: What has been read of them; None where nothing was kept.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    cache: DynamicCache | None

    def going_on(self, ids: torch.Tensor, kept: Sequence[int]) -> Batch:
        """Return some of the rows with what was written since, without what is padding in all."""
        rows = torch.tensor(kept, device=ids.device)
        mask = pad(self.mask[rows], (0, ids.shape[1] - self.mask.shape[1]), value=1)
        first = int(mask.any(dim=0).int().argmax())
        if self.cache is not None:
            self.cache.batch_select_indices(rows)
            for layer in self.cache.layers if first else ():
                # Copied, for a part of a tensor looks as if it had room behind it.
                layer.keys = layer.keys[..., first:, :].clone()
                layer.values = layer.values[..., first:, :].clone()
        return Batch(ids[rows, first:], mask[:, first:], self.cache)

    def joined(self, other: Batch) -> Batch:
        """Return the rows of both; of either the cache holds all but the last token."""
        width = max(self.ids.shape[1], other.ids.shape[1])

        def both(one: torch.Tensor, two: torch.Tensor, last: int, width: int) -> torch.Tensor:
            tail = (0, 0) * last
            return torch.cat([pad(t, (*tail, width - t.shape[-1 - last], 0)) for t in (one, two)])

        assert self.cache is not None
        assert other.cache is not None
        cache = roomy()
        pairs = zip(self.cache.layers, other.cache.layers, strict=True)
        for index, (one, two) in enumerate(pairs):
            keys = both(one.keys, two.keys, 1, width - 1)
            cache.update(keys, both(one.values, two.values, 1, width - 1), index)
        ids, mask = both(self.ids, other.ids, 0, width), both(self.mask, other.mask, 0, width)
        return Batch(ids, mask, cache)
