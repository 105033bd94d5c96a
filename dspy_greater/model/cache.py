"""What a model keeps while it writes, with room behind it for what is still to come."""

from __future__ import annotations

from typing import Any

import torch
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
