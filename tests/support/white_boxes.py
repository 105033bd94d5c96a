"""What several test files of the white box need."""

from __future__ import annotations

import random
from typing import Any

import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import Targeted, WhiteBox
from examples.published_schedule.white_box import GradientBox
from tests.support.tiny import make_model, make_tokenizer

# Ids below this are the tiny tokenizer's special tokens.
FIRST_TEXT = 3


def white_box_of(
    architecture: str,
    *,
    dtype: torch.dtype = torch.float32,
    tokens: int | None = None,
    **sizes: Any,
) -> GradientBox:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer), dtype=dtype, **sizes)
    return GradientBox(model, tokenizer, name=architecture, token_budget=tokens)


def shares(white_box: WhiteBox) -> bool:
    """Whether a beginning that sequences have in common is read once for all of them."""
    head = random_ids(200, seed=7)
    items = [
        Targeted([*head, *random_ids(5, seed=seed)], Span(len(head), len(head) + 5))
        for seed in range(2)
    ]
    before = white_box.counts.snapshot()
    white_box.log_probs(items)
    return (white_box.counts - before).tokens_forward < 2 * len(head)


def random_ids(length: int, seed: int = 0, vocab: int = 480) -> list[int]:
    return [random.Random(f"{seed}.{i}").randrange(FIRST_TEXT, vocab) for i in range(length)]


def random_items(count: int = 6, seed: int = 0) -> list[Targeted]:
    """Sequences of differing lengths, targets at the end and inputs within reach before them."""
    items = []
    for number in range(count):
        length = 8 + 7 * ((number * 5) % count)
        ids = random_ids(length, seed + number)
        start = max(1, length - 12)
        items.append(
            Targeted(
                ids, Span(length - 3 - number % 3, length), Span(start, start + 3 + number % 2)
            )
        )
    return items


def full_log_probs(model: Any, ids: list[int]) -> torch.Tensor:
    """``[time, vocab]`` log-probabilities from a plain forward pass."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), dim=-1)
