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
    """Run ``work`` on micro-batches and return the results in the order of ``items``."""
    return served(items, sizes, budget, lambda take: work(take(0)))


def served(
    items: Sequence[Item],
    sizes: Sequence[Size],
    budget: Size,
    work: Callable[[Callable[[int], list[Item]]], list[Result]],
) -> list[Result]:
    """Let ``work`` take items for as long as any wait; return their results in order.

    It takes as many as the budget allows beside so many that it still has in hand, and returns the
    results of all it took. The budget is lowered when memory runs out; the error is raised when one
    item does not fit.
    """
    results: dict[int, Result] = {}
    waiting = deque(sorted(range(len(items)), key=lambda i: -sizes[i].tokens))
    taken: list[int] = []
    most = 0

    def take(beside: int) -> list[Item]:
        nonlocal most
        if not waiting:
            return []
        longest = sizes[taken[0] if taken else waiting[0]].tokens
        new = _fitting(waiting, sizes, budget, beside, longest)
        most = max(most, beside + len(new))
        taken.extend(new)
        return [items[i] for i in new]

    while waiting:
        taken, most = [], 0
        try:
            done = work(take)
            results.update(zip(taken, done, strict=True))
            continue
        except (RuntimeError, MemoryError) as error:
            if most == 1 or not is_out_of_memory(error):
                raise
        free_memory()  # not above, where the traceback still holds tensors
        budget.tokens = max(1, min(budget.tokens, sizes[taken[0]].tokens * most // 2))
        waiting.extendleft(reversed(taken))
    return [results[i] for i in range(len(items))]


def _fitting(
    waiting: deque[int], sizes: Sequence[Size], budget: Size, beside: int, longest: int
) -> list[int]:
    """Take as many items, longest first, as the budget allows beside others; one where none is."""
    new: list[int] = []
    logits = 0
    while waiting:
        logits += sizes[waiting[0]].logits
        rows = beside + len(new) + 1
        if rows > 1 and (longest * rows > budget.tokens or logits > budget.logits):
            break
        new.append(waiting.popleft())
    return new


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
