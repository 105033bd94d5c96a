"""Micro-batches under a token budget, halved when memory runs out.

Sequences are bucketed by length, the longest first: a batch that is too big fails at the start of
the work. The budget then stays lowered for that work.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# CPU and MPS allocators raise a plain RuntimeError; only its text tells.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@dataclass
class Size:
    """What a sequence costs, or a micro-batch may: rows × longest in tokens, logits in numbers."""

    tokens: int
    logits: int = 0


def in_batches(
    items: Sequence[Item],
    sizes: Sequence[Size],
    budget: Size,
    work: Callable[[list[Item]], list[Result]],
) -> list[Result]:
    """Run ``work`` on micro-batches and return the results in the order of ``items``.

    The budget is lowered when memory runs out; the error is raised when one item does not fit.
    """
    results: dict[int, Result] = {}
    waiting = deque(sorted(range(len(items)), key=lambda i: -sizes[i].tokens))
    while waiting:
        batch = _next_batch(waiting, sizes, budget)
        try:
            results.update(zip(batch, work([items[i] for i in batch]), strict=True))
            continue
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        free_memory()  # not above, where the traceback still holds tensors
        budget.tokens = max(1, min(budget.tokens, sizes[batch[0]].tokens * len(batch) // 2))
        waiting.extendleft(reversed(batch))
    return [results[i] for i in range(len(items))]


def _next_batch(waiting: deque[int], sizes: Sequence[Size], budget: Size) -> list[int]:
    """Take as many items, longest first, as the budget allows; at least one."""
    batch = [waiting.popleft()]
    longest, logits = sizes[batch[0]].tokens, sizes[batch[0]].logits
    while waiting:
        logits += sizes[waiting[0]].logits
        if longest * (len(batch) + 1) > budget.tokens or logits > budget.logits:
            break
        batch.append(waiting.popleft())
    return batch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that the device has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(each in text for each in OUT_OF_MEMORY)


def free_memory() -> None:
    """Give cached blocks back to the device, so that a smaller batch finds room."""
    gc.collect()
    torch.cuda.empty_cache()  # does nothing where there is none
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
