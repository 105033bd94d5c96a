"""Whether prompts of unequal length may share a generation.

Most models read past the padding on the left; a recurrent state may take it in, and attention that
has nothing to attend to may give NaN. Then only prompts of one length share a batch.
"""

from __future__ import annotations

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from dspy_greater.model.forward import alike, at_least_float32, probe
from dspy_greater.model.generation import Decoder, greedily, padded


class Forced(LogitsProcessor):
    """Keeps every row's scores, and lets all rows go on with the same token."""

    def __init__(self, token: int) -> None:
        self.token = token
        self.seen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores ``[batch, vocab]`` in which only that token is possible."""
        self.seen.append(at_least_float32(scores))
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.token] = 0.0
        return forced


def reads_past_padding(decoder: Decoder, vocab_size: int) -> bool:
    """Whether a prompt goes on beside a longer one as it does alone, for two tokens."""
    long = probe(vocab_size)
    short = long[:3]
    alone = _scores(decoder, [short], vocab_size)
    beside = _scores(decoder, [short, long], vocab_size)[:, :1]
    return alike(beside, alone, decoder.model.get_input_embeddings().weight.dtype)


def _scores(decoder: Decoder, prompts: list[list[int]], vocab_size: int) -> torch.Tensor:
    """Return scores of the first two tokens after each prompt, ``[2, batch, vocab]``."""
    forced = Forced(vocab_size // 2)
    processors = LogitsProcessorList([forced])
    greedily(decoder, *padded(decoder, prompts), most=2, ends=(), logits_processor=processors)
    return torch.stack(forced.seen)
