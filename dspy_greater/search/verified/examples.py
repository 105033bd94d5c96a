"""Instructions that show worked examples behind their words."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

#: How many examples an instruction shows more than the current one, by turns.
SIZES = (1, 1, 2, 4)
HEADER, BETWEEN = "\n\nFor example:\n\n", "\n\n"


def with_examples(
    instruction: str, worked: Sequence[str], count: int, rng: random.Random
) -> list[str]:
    """Return so many instructions with some examples more, behind those that are shown already."""
    words, shown = apart(instruction)
    begun = words + (shown + BETWEEN if shown else HEADER)
    left = [text for text in worked if text not in shown]
    sizes = (size for size in itertools.islice(itertools.cycle(SIZES), count) if size <= len(left))
    return list(dict.fromkeys(begun + BETWEEN.join(rng.sample(left, size)) for size in sizes))


def apart(instruction: str) -> tuple[str, str]:
    """Return the words of an instruction, and the examples behind them with their header."""
    words, header, shown = instruction.partition(HEADER)
    return words, header + shown
