"""Caches of keys and values with room for what is still to be generated."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

#: Tokens for which a layer that is full makes room, at least.
ROOM = 64


class RoomyLayer(DynamicLayer):
    """A layer that copies what it holds once in :data:`ROOM` tokens, not for each.

    Not for gradients: it writes in place.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self._stores: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values ``[batch, heads, time, size]`` and return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._stores is None or end > self._stores[0].shape[-2]:
            room = end + max(ROOM, end // 4)
            self._stores = (
                _with_room(self.keys, key_states, start, room),
                _with_room(self.values, value_states, start, room),
            )
        keys, values = self._stores
        keys[..., start:end, :] = key_states
        values[..., start:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some rows, and room for them."""
        if self._stores is not None:
            length = self.get_seq_length()
            keys, values = self._stores = self._stores[0][indices], self._stores[1][indices]
            self.keys, self.values = keys[..., :length, :], values[..., :length, :]


class RoomyCache(DynamicCache):
    """A cache of such layers, made as the model asks for them."""

    def __init__(self) -> None:
        Cache.__init__(self, layer_class_to_replicate=RoomyLayer)


def _with_room(old: torch.Tensor, new: torch.Tensor, length: int, room: int) -> torch.Tensor:
    """Return a store shaped like ``new`` with ``room`` places, of which ``length`` are filled."""
    store = new.new_empty((*new.shape[:-2], room, new.shape[-1]))
    if length:
        store[..., :length, :] = old
    return store
