"""Which of the instructions that the search held may be vouched for.

A training gain of the size of its own noise is no gain. The final choice is
made on validation examples that the search never saw, paired example by
example against the instruction that the user brought.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Comparison:
    """A paired difference of two instructions on the same examples.

    Attributes:
        gain: Mean difference of the metric, new minus old.
        standard_error: Its standard error over examples (0 when all differences are equal).
        examples: Number of pairs.
    """

    gain: float
    standard_error: float
    examples: int

    def exceeds(self, multiple: float) -> bool:
        """Whether the gain is positive and above ``multiple`` standard errors."""
        return self.gain > 0 and self.gain > multiple * self.standard_error


def compare(new: Sequence[float], old: Sequence[float]) -> Comparison:
    """Compare two lists of scores of the same examples.

    The standard error counts one more pair, with the opposite difference of the
    largest seen. Without it, a gain on a single example out of one would look
    certain.

    Raises:
        ValueError: If the lists are empty or differ in length.
    """
    if len(new) != len(old) or not new:
        raise ValueError(f"need two equally long lists of scores, got {len(new)} and {len(old)}")
    differences = [n - o for n, o in zip(new, old, strict=True)]
    gain = sum(differences) / len(differences)
    guarded = [*differences, -max(differences, key=abs)]
    mean = sum(guarded) / len(guarded)
    variance = sum((d - mean) ** 2 for d in guarded) / max(len(guarded) - 1, 1)
    return Comparison(gain, math.sqrt(variance / len(guarded)), len(differences))
