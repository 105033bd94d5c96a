"""The language-model head reads contiguous hidden states, whoever asks for its logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dspy_greater.model import Sampling, WhiteBox
from tests.support.white_boxes import model_of, random_ids, random_items, white_box_of

WORK: dict[str, Callable[[WhiteBox], Any]] = {
    "generate": lambda box: box.generate(
        [random_ids(9, seed) for seed in range(5)], [Sampling(max_tokens=4)] * 5
    ),
    "log_probs": lambda box: box.log_probs(random_items(5)),
    "gradients": lambda box: box.gradients(random_items(5)),
    "next_log_probs": lambda box: box.next_log_probs([random_ids(9, s) for s in range(5)], last=3),
}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_the_heads_input_is_contiguous(architecture: str, work: Callable[[WhiteBox], Any]) -> None:
    box = white_box_of(architecture)
    strides = []

    def look(module: Any, args: tuple[torch.Tensor, ...]) -> None:
        strides.append((args[0].is_contiguous(), args[0].shape))

    handle = model_of(box).get_output_embeddings().register_forward_pre_hook(look)
    try:
        work(box)
    finally:
        handle.remove()
    assert strides
    assert all(contiguous for contiguous, _ in strides), strides


def test_a_sliced_hidden_state_would_not_be() -> None:
    box = white_box_of("llama")
    head, seen = model_of(box).get_output_embeddings(), []
    handle = head.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    head(torch.randn(4, 7, head.in_features)[:, -1:])
    handle.remove()
    assert seen[0].is_contiguous()
    assert not torch.randn(4, 7, 3)[:, -1:].is_contiguous()
