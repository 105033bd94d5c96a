"""Paired comparisons of programs, and which of them is verified.

The final choice is made on validation examples, paired example by example against the user's
program, and the bar rises with every program that was scored there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from dspy_greater.search.programs import Program

#: Up to this many differing pairs every assignment of signs is tried, beyond it DRAWS of them.
EXACT_PAIRS = 14
DRAWS = 10_000


@dataclass(frozen=True)
class Comparison:
    """The mean difference of two instructions, new minus old, paired on the same examples.

    ``p_value`` is a sign-flip test's: how often a gain at least this large comes from differences
    whose signs are chance.
    """

    gain: float
    standard_error: float
    p_value: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the gain (normal approximation)."""
        half = 1.96 * self.standard_error
        return self.gain - half, self.gain + half

    def exceeds(self, multiple: float) -> bool:
        """Whether the gain is positive and above ``multiple`` standard errors."""
        return self.gain > 0 and self.gain > multiple * self.standard_error


def compare(new: Sequence[float], old: Sequence[float]) -> Comparison:
    """Compare two lists of scores of the same examples.

    The standard error counts one more pair, with the opposite of the largest difference seen:
    without it, a gain on one example out of one would look certain.
    """
    differences = [n - o for n, o in zip(new, old, strict=True)]
    guarded = [*differences, -max(differences, key=abs)]
    variance = float(np.var(guarded, ddof=1))
    return Comparison(
        gain=mean(differences),
        standard_error=math.sqrt(variance / len(guarded)),
        p_value=sign_flip_p_value(differences),
    )


def sign_flip_p_value(differences: Sequence[float]) -> float:
    """Return the one-sided p-value of a mean difference above zero."""
    # Under the null hypothesis every pair's difference is as likely to have either sign.
    sizes = np.abs([d for d in differences if d])
    if not len(sizes):
        return 1.0
    if len(sizes) <= EXACT_PAIRS:
        bits = np.arange(2 ** len(sizes))[:, None] >> np.arange(len(sizes)) & 1
    else:
        # Drawn with a seed of its own: the same scores always give the same p-value.
        bits = np.random.default_rng(0).integers(0, 2, (DRAWS, len(sizes)))
        bits[0] = np.array([d > 0 for d in differences if d])  # what was seen is one of the draws
    sums = (2 * bits - 1) @ sizes
    return float(np.mean(sums >= sum(differences) - 1e-9))


@dataclass(frozen=True)
class Verdict:
    """The best program beyond doubt, or the one at the start, with which it is compared.

    ``looks`` other programs were validated; ``p_value`` is corrected for them (Bonferroni).
    """

    program: Program
    comparison: Comparison
    looks: int
    p_value: float


def choose(
    validated: Mapping[Program, Sequence[float]], start: Program, confidence: float
) -> Verdict:
    """Return the best validated program that beats the one at the start beyond doubt.

    Each program validated was another chance to be lucky, so p-values are multiplied by their
    number: where none is better, the start is kept with a probability of at least ``confidence``.
    """
    looks = len(validated) - 1
    comparisons = {each: compare(scores, validated[start]) for each, scores in validated.items()}
    p_values = {each: min(1.0, c.p_value * looks) for each, c in comparisons.items()}
    proven = [p for p in validated if p_values[p] <= 1 - confidence and p != start]
    best = max(proven, key=lambda program: comparisons[program].gain, default=start)
    return Verdict(best, comparisons[best], looks, p_values[best] if best != start else 1.0)
