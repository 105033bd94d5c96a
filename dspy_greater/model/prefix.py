"""Beginnings that sequences share: read once, not once for each.

Only models whose layers all keep every key take part: a sliding window counts the places of a
cache, padding included, and a recurrent state cannot be put in front of a padded row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

#: What starting a batch costs, in tokens: below it, more batches save nothing.
BATCH_COST = 128
#: Tokens from which on a larger product is no faster on a CPU.
CHUNK = 512
#: Shorter beginnings are not worth a pass of their own; what one more costs in padding, in tokens.
SHORTEST, PADDING = 8, 32


@dataclass(frozen=True)
class Prefix:
    """Beginnings, of so many tokens each, and what a model's layers keep of them.

    ``mask`` is ``[beginnings, places]``, 1 where a place holds a token and not padding; keys and
    values are ``[beginnings, heads, places, size]``.
    """

    lengths: tuple[int, ...]
    mask: torch.Tensor
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]

    def cache(self, chosen: Sequence[int], cache: DynamicCache | None = None) -> DynamicCache:
        """Return a cache, a new one if None, that begins row by row with the chosen beginnings."""
        cache = DynamicCache() if cache is None else cache
        for index, (keys, values) in enumerate(self.layers):
            rows = torch.tensor(chosen, device=keys.device)
            cache.update(keys[rows], values[rows], index)
        return cache

    def each(self) -> list[Prefix]:
        """Return every beginning by itself."""
        return [
            Prefix((length,), self.mask[[at]], tuple((k[[at]], v[[at]]) for k, v in self.layers))
            for at, length in enumerate(self.lengths)
        ]

    @classmethod
    def joined(cls, parts: Sequence[Prefix]) -> Prefix:
        """Return the beginnings of several, one behind the other, padded to the same width."""
        width = max(part.mask.shape[1] for part in parts)

        def padded(tensors: Sequence[torch.Tensor], last: int) -> torch.Tensor:
            filled = [pad(t, (0, 0) * last + (0, width - t.shape[-1 - last])) for t in tensors]
            return torch.cat(filled)

        layers = (zip(*each, strict=True) for each in zip(*(p.layers for p in parts), strict=True))
        return cls(
            tuple(length for part in parts for length in part.lengths),
            padded([part.mask for part in parts], 0),
            tuple((padded(keys, 1), padded(values, 1)) for keys, values in layers),
        )


class Beginnings:
    """What prompts begin with alike: each is read once, when the first that begins with it is.

    Attributes:
        tokens: How many have been read.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], read: Callable[..., Prefix]) -> None:
        common, starts = beginnings(prompts)
        self.tokens = 0
        self._common = tuple(prompts[0][:common])
        pairs = zip(prompts, starts, strict=True)
        self._heads = [tuple(prompt[:start]) for prompt, start in pairs]
        self._left = Counter(self._heads)
        self._read = read
        self._root: Prefix | None = None
        self._held: dict[tuple[int, ...], Prefix] = {}

    def of(self, rows: Sequence[int]) -> tuple[Prefix | None, list[int]]:
        """Return what some of the prompts begin with, and which of it each; None for nothing.

        What no other prompt begins with is not kept.
        """
        heads = [self._heads[row] for row in rows]
        needed = list(dict.fromkeys(heads))
        if needed == [()]:
            return None, [0] * len(rows)
        if self._common and self._root is None:
            self._root = self._read([self._common])
            self.tokens += len(self._common)
        held = self._held if self._root is None else {**self._held, self._common: self._root}
        if new := [head for head in needed if head and head not in held]:
            held |= zip(new, self._read(new, self._root).each(), strict=True)
            self.tokens += sum(len(head) - len(self._common) for head in new)
        some = next(held[head] for head in needed if head)
        held[()] = Prefix((0,), torch.zeros_like(some.mask), some.layers)
        found = Prefix.joined([held[head] for head in needed])
        self._left -= Counter(heads)
        self._held = {head: held[head] for head in held if head and self._left[head]}
        return found, [needed.index(head) for head in heads]


class Group(NamedTuple):
    """Indices of sequences that are run behind one prefix of ``shared`` tokens."""

    shared: int
    members: Sequence[int]


def keeps_every_key(config: Any) -> bool:
    """Whether each layer of a model with this configuration keeps the keys of all tokens."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def common_length(*sequences: Sequence[int]) -> int:
    """Return how many tokens sequences have in common at their start."""
    return sum(1 for _ in takewhile(lambda ids: len({*ids}) == 1, zip(*sequences, strict=False)))


def by_prefix(
    sequences: Sequence[Sequence[int]], most: Sequence[int], price: int = BATCH_COST
) -> list[Group]:
    """Group sequences, ``most`` of each in a prefix, so that few tokens are read in all.

    By s shared tokens n sequences save ``(n - 1) * s``, less the price of a group. Sorted, they
    join from the longest common beginning down, as one group or as they were, what saves more.
    """
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    pairs = pairwise(order)
    shared = [min(most[a], most[b], common_length(sequences[a], sequences[b])) for a, b in pairs]
    # By where a stretch begins: what it saves and its groups. And where each begins and ends.
    best = {at: (-price, [Group(0, [index])]) for at, index in enumerate(order)}
    begins, ends = [*best], [*best]
    for at in sorted(range(len(shared)), key=lambda at: -shared[at]):
        first, last = begins[at], ends[at + 1]
        (saved, groups), (more, others) = best.pop(first), best.pop(at + 1)
        members, together = order[first : last + 1], (last - first) * shared[at] - price
        whole = together, [Group(_worthwhile(shared[at], len(members)), members)]
        best[first] = max(whole, (saved + more, groups + others), key=itemgetter(0))
        begins[last], ends[first] = first, last
    return [group for _, groups in best.values() for group in groups]


def beginnings(prompts: Sequence[Sequence[int]]) -> tuple[int, list[int]]:
    """Return how many tokens, but for the last two, all prompts share, and each with some."""
    ends = [max(0, len(prompt) - 2) for prompt in prompts]
    common = _worthwhile(min(common_length(*prompts), *ends), len(prompts))
    starts = [common] * len(prompts)
    own = [prompt[common:] for prompt in prompts]
    for group in by_prefix(own, [end - common for end in ends], price=PADDING):
        for index in group.members:
            starts[index] += group.shared
    return common, starts


def distinct(sequences: Sequence[Sequence[int]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the different ones among some sequences, and which of them each is."""
    keys = [tuple(ids) for ids in sequences]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return list(numbers), [numbers[key] for key in keys]


def of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Group indices of sequences, the longest first, by :data:`CHUNK` tokens or a little more."""
    chunks: list[list[int]] = [[]]
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if sum(lengths[each] for each in chunks[-1]) >= CHUNK:
            chunks.append([])
        chunks[-1].append(index)
    return chunks


def _worthwhile(shared: int, members: int) -> int:
    return shared if shared >= SHORTEST and members > 1 else 0
