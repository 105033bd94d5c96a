"""Beginnings that sequences share: read once, not once for each.

Only models whose layers all keep every key take part: a sliding window counts the places of a
cache, padding included, and a recurrent state cannot be put in front of a padded row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

#: What starting a batch costs, in tokens: below it, more batches save nothing.
BATCH_COST = 128
#: Shorter beginnings are not worth a pass of their own.
SHORTEST = 8
#: Tokens for which a layer that is full makes room, at least.
ROOM = 64


@dataclass(frozen=True)
class Prefix:
    """Beginnings and what a model's layers keep of them.

    Attributes:
        lengths: Tokens of each beginning.
        mask: ``[beginnings, places]``, 1 where a place holds a token and not padding.
        layers: Keys and values by layer, each ``[beginnings, heads, places, size]``.
    """

    lengths: tuple[int, ...]
    mask: torch.Tensor
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def fill(self, cache: Cache, chosen: Sequence[int]) -> Cache:
        """Let an empty cache begin, row by row, with the chosen beginnings."""
        for index, (keys, values) in enumerate(self.layers):
            rows = torch.tensor(chosen, device=keys.device)
            cache.update(keys[rows], values[rows], index)
        return cache


class Group(NamedTuple):
    """Indices of sequences that are run behind one prefix of ``shared`` tokens."""

    shared: int
    members: Sequence[int]


def keeps_every_key(config: Any) -> bool:
    """Whether each layer of a model with this configuration keeps the keys of all tokens."""
    layers = DynamicCache(config=config).layers
    return all(type(layer) is DynamicLayer for layer in layers)


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return how many tokens two sequences have in common at their start."""
    pairs = zip(first, second, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def by_prefix(
    sequences: Sequence[Sequence[int]], most: Sequence[int], price: int = BATCH_COST
) -> list[Group]:
    """Group sequences, ``most`` of each in a prefix, so that few tokens are read in all.

    They join in lexicographic order as long as what n sequences save by s shared tokens,
    ``(n - 1) * s``, and the price of one more group, in tokens, outweigh a shorter prefix.
    """
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i]))
    groups: list[Group] = []
    for index in order:
        if groups:
            last = groups[-1]
            common = common_length(sequences[last.members[-1]], sequences[index])
            together = min(last.shared, most[index], common)
            joined = len(last.members)
            if joined * together + price >= (joined - 1) * last.shared:
                groups[-1] = Group(together, (*last.members, index))
                continue
        groups.append(Group(most[index], (index,)))
    return [Group(_worthwhile(each.shared, len(each.members)), each.members) for each in groups]


def beginnings(prompts: Sequence[Sequence[int]]) -> tuple[int, list[int]]:
    """Return how many tokens, but for a last one, all prompts share, and each with some."""
    least, most = min(prompts, key=tuple), max(prompts, key=tuple)
    common = min(common_length(least, most), *(len(prompt) - 1 for prompt in prompts))
    common = _worthwhile(common, len(prompts))
    own = [prompt[common:] for prompt in prompts]
    starts = [common] * len(prompts)
    for group in by_prefix(own, [len(ids) - 1 for ids in own], price=0):
        for index in group.members:
            starts[index] += group.shared
    return common, starts


def distinct(sequences: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the different ones among some sequences, and which of them each is."""
    keys = [tuple(ids) for ids in sequences]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return list(numbers), [numbers[key] for key in keys]


def _worthwhile(shared: int, members: int) -> int:
    return shared if shared >= SHORTEST and members > 1 else 0


class RoomyLayer(DynamicLayer):
    """A layer without gradients that copies what it holds once in `ROOM` tokens, not for each."""

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
