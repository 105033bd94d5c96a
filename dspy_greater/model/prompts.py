"""Prompts that are read before they are continued, as far as it pays, and what they share once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch.nn.utils.rnn import pad_sequence

from dspy_greater.model.cache import Batch, roomy
from dspy_greater.model.forward import Forward
from dspy_greater.model.prefix import Beginnings, Prefix, of_like_length


class Prompts:
    """Prompts of requests that go on together, if only as rows of one length.

    With ``keeps`` what has been read of them is kept, so that they share what they begin with.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], forward: Forward, keeps: bool) -> None:
        self._prompts, self._forward, self._keeps = prompts, forward, keeps
        self._beginnings = Beginnings(prompts, forward.read)

    @property
    def shared(self) -> int:
        """How many tokens have been read of what prompts share."""
        return self._beginnings.tokens

    def begin(self, rows: Sequence[int], whole: bool = False) -> tuple[Batch, int]:
        """Return a batch that some of the prompts begin, and how many tokens of their own it reads.

        What has been read goes into a cache from which all of them go on at the same column. Its
        places come first (nobody reads the ids there), then padding, then the rest; with ``whole``
        that is one token.
        """
        prompts = [self._prompts[row] for row in rows]
        cache, starts = None, [0] * len(rows)
        places = torch.zeros(len(rows), 0, dtype=torch.long)  # 1 where there is no padding
        read = 0
        if self._keeps:
            prefix, chosen, read = self._read(rows, whole)
            cache = roomy()
            if prefix is not None:
                prefix.cache(chosen, cache)
                places = prefix.mask[chosen].cpu()
                starts = [prefix.lengths[row] for row in chosen]
        pairs = zip(prompts, starts, strict=True)
        left = [torch.tensor(prompt[start:], dtype=torch.long) for prompt, start in pairs]
        padded = partial(pad_sequence, batch_first=True, padding_side="left")
        pad = self._forward.pad
        ids = torch.cat([torch.full_like(places, pad), padded(left, padding_value=pad)], dim=1)
        mask = torch.cat([places, padded([torch.ones_like(each) for each in left])], dim=1)
        device = self._forward.device
        return Batch(ids.to(device), mask.to(device), cache), read + sum(map(len, left))

    def _read(self, rows: Sequence[int], whole: bool) -> tuple[Prefix | None, list[int], int]:
        """Return what is read before prompts go on together, whose is whose, and tokens read.

        It is what prompts share and, on a CPU, all else but their last tokens, those of like length
        together: padding takes as long there as what is needed, and larger products gain nothing.
        """
        prompts = [self._prompts[row] for row in rows]
        prefix, chosen = self._beginnings.of(rows)
        starts = [prefix.lengths[index] if prefix else 0 for index in chosen]
        own = [len(prompt) - 1 - start for prompt, start in zip(prompts, starts, strict=True)]
        if not (whole or self._forward.device.type == "cpu") or not min(own):
            return prefix, chosen, 0
        chunks = of_like_length(own)
        parts = [
            self._forward.read([prompts[r][:-1] for r in at], prefix, [chosen[r] for r in at])
            for at in chunks
        ]
        order = [row for at in chunks for row in at]
        return Prefix.joined(parts), [order.index(row) for row in range(len(rows))], sum(own)
