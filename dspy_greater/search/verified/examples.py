"""Instructions that show worked examples behind their words."""

from __future__ import annotations

import random
from collections.abc import Sequence

#: How many instructions show one example more, and how many examples others show more.
SINGLES, LARGER = 4, (2, 2, 4)
MOST_SHOWING = SINGLES + len(LARGER)
HEADER, BETWEEN = "\n\nFor example:\n\n", "\n\n"


def with_examples(instruction: str, worked: Sequence[str], rng: random.Random) -> list[str]:
    """Return an instruction with some examples more, behind those that it shows already."""
    words, shown = apart(instruction)
    begun = words + (shown + BETWEEN if shown else HEADER)
    left = [text for text in worked if text not in shown]
    rows = [[text] for text in rng.sample(left, min(SINGLES, len(left)))]
    rows += [rng.sample(left, size) for size in LARGER if size <= len(left)]
    return list(dict.fromkeys(begun + BETWEEN.join(row) for row in rows))


def apart(instruction: str) -> tuple[str, str]:
    """Return the words of an instruction, and the examples behind them with their header."""
    words, header, shown = instruction.partition(HEADER)
    return words, header + shown
