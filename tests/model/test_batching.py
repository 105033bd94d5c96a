"""Micro-batches: buckets, budgets, and less at once when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.model.batching import Size, in_batches, is_out_of_memory, served
from tests.support.white_boxes import random_ids, random_items, white_box_of


class SmallMemory:
    """Makes a model run out of memory for batches above ``most`` rows."""

    def __init__(self, white_box: WhiteBox, most: int, error: Exception) -> None:
        self.most, self.error, self.failures = most, error, 0
        white_box.model.get_input_embeddings().register_forward_pre_hook(self.check)

    def check(self, module: Any, args: tuple[torch.Tensor, ...]) -> None:
        if args[0].shape[0] > self.most:
            self.failures += 1
            raise self.error


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "mps", "cpu"])
def test_every_device_says_it_in_its_own_words(error: Exception) -> None:
    assert is_out_of_memory(error)


def test_a_batch_that_does_not_fit_is_halved_until_it_does() -> None:
    items = random_items(9)
    roomy = white_box_of("llama")
    tight = white_box_of("llama")
    memory = SmallMemory(tight, 3, ERRORS[0])
    for left, right in zip(roomy.log_probs(items), tight.log_probs(items), strict=True):
        torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-5)
    for one, two in zip(roomy.gradients(items), tight.gradients(items), strict=True):
        torch.testing.assert_close(one.positions, two.positions, atol=1e-4, rtol=1e-3)
    prompts, settings = [random_ids(n, n) for n in range(3, 12)], [Sampling(5)] * 9
    assert roomy.generate(prompts, settings) == tight.generate(prompts, settings)
    assert roomy.counts == tight.counts  # work that failed is not counted
    assert memory.failures > 0


def test_what_prompts_share_is_there_when_a_batch_is_begun_again() -> None:
    common, heads = random_ids(12), [random_ids(10 * n, seed=n) for n in range(3)]
    ends = [(head, random_ids(3, seed=i)) for head in heads for i in range(4)]
    prompts, settings = [(*common, *head, *end) for head, end in ends], [Sampling(5)] * 12
    tight = white_box_of("llama", dtype=torch.float64)
    memory = SmallMemory(tight, 3, ERRORS[0])
    expected = white_box_of("llama", dtype=torch.float64).generate(prompts, settings)
    assert tight.generate(prompts, settings) == expected
    assert memory.failures > 0


def test_the_smaller_size_is_remembered() -> None:
    white_box = white_box_of("llama")
    memory = SmallMemory(white_box, 2, ERRORS[0])
    white_box.log_probs(random_items(9))
    failures = memory.failures
    white_box.log_probs(random_items(9))
    assert memory.failures == failures


def test_one_sequence_that_does_not_fit_is_an_error() -> None:
    white_box = white_box_of("llama")
    SmallMemory(white_box, 0, ERRORS[0])
    with pytest.raises(torch.OutOfMemoryError):
        white_box.log_probs(random_items(3))


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    white_box = white_box_of("llama")
    memory = SmallMemory(white_box, 2, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        white_box.log_probs(random_items(9))
    assert memory.failures == 1
    assert not is_out_of_memory(ValueError("out of memory"))


def test_batches_respect_the_budget_bucket_by_length_and_keep_the_order() -> None:
    lengths = [5, 50, 6, 48, 7, 100, 5]
    batches: list[list[int]] = []

    def work(batch: list[int]) -> list[str]:
        batches.append(batch)
        return [str(length) for length in batch]

    sizes = [Size(length) for length in lengths]
    assert in_batches(lengths, sizes, Size(100, 1), work) == [str(n) for n in lengths]
    assert batches == [[100], [50, 48], [7, 6, 5, 5]]


def test_items_that_wait_take_the_places_of_those_that_are_done() -> None:
    taken: list[list[list[int]]] = []

    def work(take: Callable[[int], list[int]]) -> list[str]:
        taken.append([take(beside) for beside in (0, 2, 1, 3, 0)])
        return [str(length) for batch in taken[-1] for length in batch]

    lengths = [5, 50, 6, 48, 7, 100, 5]
    sizes = [Size(length) for length in lengths]
    assert served(lengths, sizes, Size(200, 1), work) == [str(length) for length in lengths]
    assert taken == [[[100, 50], [], [48], [], [7, 6]], [[5, 5], [], [], [], []]]


def test_memory_that_runs_out_late_lowers_the_budget_by_what_was_in_hand() -> None:
    budget, in_hand = Size(60), []

    def work(take: Callable[[int], list[int]]) -> list[int]:
        done, hand = [], take(0)
        while hand:
            in_hand.append(len(hand))
            if len(hand) > 3:
                raise torch.OutOfMemoryError("out of memory")
            done.append(hand.pop(0))
            hand += take(len(hand))
        return done

    assert served(range(20), [Size(10)] * 20, budget, work) == list(range(20))
    assert (budget.tokens, in_hand[:2]) == (30, [6, 3])


def test_logits_have_a_budget_of_their_own() -> None:
    batches: list[list[int]] = []

    def work(batch: list[int]) -> list[int]:
        batches.append(batch)
        return batch

    in_batches([1, 2, 3], [Size(1, 40)] * 3, Size(1000, 100), work)
    assert batches == [[1, 2], [3]]
