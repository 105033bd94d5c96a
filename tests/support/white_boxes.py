"""What several test files of the white box need."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import Sampling, Targeted, WhiteBox
from tests.support.tiny import make_model, make_tokenizer

# Ids below this are the tiny tokenizer's special tokens.
FIRST_TEXT = 3


def white_box_of(
    architecture: str,
    *,
    dtype: torch.dtype = torch.float32,
    tokens: int | None = None,
    **sizes: Any,
) -> WhiteBox:
    tokenizer = make_tokenizer()
    model = make_model(architecture, len(tokenizer), dtype=dtype, **sizes)
    return WhiteBox(model, tokenizer, name=architecture, token_budget=tokens)


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


def check_recorded_log_probs(
    white_box: WhiteBox, prompts: Sequence[Sequence[int]], tolerance: float
) -> None:
    """Log-probabilities recorded in a generation are those of a plain forward pass."""
    settings = [
        Sampling(6, logprobs=0),
        Sampling(9, temperature=1.5, top_k=30, seed=1, logprobs=3),
        Sampling(4),
        Sampling(7, logprobs=5),
    ]
    close = {"atol": tolerance, "rtol": tolerance}
    generations = white_box.generate(prompts, settings)
    assert generations[2].log_probs is None
    for prompt, setting, generation in zip(prompts, settings, generations, strict=True):
        if setting.logprobs is None:
            continue
        records = generation.log_probs
        assert records is not None
        assert tuple(record.id for record in records) == generation.ids
        ids = [*prompt, *generation.ids]
        (scored,) = white_box.log_probs([Targeted(ids, Span(len(prompt), len(ids)))])
        recorded = torch.tensor([record.log_prob for record in records])
        torch.testing.assert_close(recorded, scored, **close)
        following = full_log_probs(white_box.model, ids)[len(prompt) - 1 : -1]
        for record, log_probs in zip(records, following, strict=True):
            assert len(record.top) == setting.logprobs
            values = torch.tensor([value for _, value in record.top])
            expected = log_probs.topk(setting.logprobs).values
            torch.testing.assert_close(values, expected, **close)
