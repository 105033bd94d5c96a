"""Paired comparisons of programs, and which of them is verified.

The final choice is made on validation examples, on which nothing was chosen before, paired example
by example against the user's program; the bar rises with every program that was scored there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from dspy_greater.search.programs import Program

#: Up to this many differing pairs every assignment of signs is tried, beyond it DRAWS of them.
EXACT_PAIRS = 14
DRAWS = 10_000
#: Samples with replacement from which the flattery of a choice is estimated.
BOOTSTRAPS = 1_000
#: Of the normal distribution: one-sided 5 % and a power of 80 %.
SURE = 1.645 + 0.842

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """The mean difference of two instructions, new minus old, paired on the same examples.

    ``p_value`` is a sign-flip test's: how often a gain at least as large comes from chance signs.
    """

    gain: float
    standard_error: float
    p_value: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the gain (normal approximation)."""
        half = 1.96 * self.standard_error
        return self.gain - half, self.gain + half

    def examples_needed(self, seen: int) -> int | None:
        """Examples that show a gain of this size at p <= .05 four times in five; None at no gain.

        ``seen`` are those that it was measured on.
        """
        if self.gain <= 0:
            return None
        return math.ceil(seen * (SURE * self.standard_error / self.gain) ** 2)


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
        p_value=sign_flip_p_values(np.array([differences], dtype=float))[0],
    )


def sign_flip_p_values(differences: FloatArray) -> list[float]:
    """Return, by program, the one-sided p-value of a mean difference above zero.

    Corrected for the number of programs, as the largest of their statistics is compared
    (single-step max-T; Westfall and Young, 1993): programs that do alike hardly raise the bar.

    Args:
        differences: New scores minus old ones, ``[programs, examples]``.
    """
    # Under the null hypothesis every example's differences, as a whole, may have either sign.
    rows = differences.T[differences.any(axis=0)]
    if not len(rows):
        return [1.0] * len(differences)
    if len(rows) <= EXACT_PAIRS:
        bits = np.arange(2 ** len(rows))[:, None] >> np.arange(len(rows)) & 1
    else:
        # Drawn with a seed of its own: the same scores always give the same p-value.
        bits = np.random.default_rng(0).integers(0, 2, (DRAWS, len(rows)))
        bits[0] = 1  # what was seen is one of the draws
    spread = np.sqrt((rows**2).sum(axis=0))
    spread[spread == 0] = 1.0  # a program without a difference has a statistic of 0
    largest = ((2 * bits - 1) @ rows / spread).max(axis=1)
    return [float(np.mean(largest >= seen - 1e-9)) for seen in rows.sum(axis=0) / spread]


@dataclass(frozen=True)
class Verdict:
    """The program to return, compared with the one at the start, which it may be.

    Attributes:
        looks: How many other programs were validated to choose among.
        p_value: Of the gain, corrected for them; 1 where the start is returned.
        best: The best of the others, returned or not; None where there is none.
        expected_gain: The gain less what the choice among so many flatters it by.
        put_back: Predictors whose change did not earn its place; see :func:`lean`.
    """

    program: Program
    comparison: Comparison
    looks: int
    p_value: float
    best: Comparison | None
    expected_gain: float
    put_back: tuple[str, ...] = ()


def choose(
    validated: Mapping[Program, Sequence[float]],
    start: Program,
    confidence: float,
    put_back: Sequence[Program] = (),
) -> Verdict:
    """Return the best of the validated programs that beat the one at the start.

    Each program validated was another chance to be lucky, and p-values allow for that: where none
    is better, the start is kept with a probability of at least ``confidence``. Those that were
    ``put_back`` into are no such chance: they are looked at where another has won.
    """
    others = [program for program in validated if program not in (start, *put_back)]
    if not others:
        return Verdict(start, compare(validated[start], validated[start]), 0, 1.0, None, 0.0)
    scores = np.array([validated[program] for program in others])
    differences = scores - np.array(validated[start])
    p_values = dict(zip(others, sign_flip_p_values(differences), strict=True))
    compared = {each: compare(validated[each], validated[start]) for each in validated}
    proven = [program for program in others if p_values[program] < 1 - confidence]
    found = max(proven, key=lambda each: compared[each].gain, default=start)
    program, p_value = lean(found, validated, start, confidence), p_values.get(found, 1.0)
    return Verdict(
        program,
        compared[program],
        len(others),
        p_value if program == found else max(p_value, compared[program].p_value),
        max((compared[each] for each in others), key=lambda each: each.gain),
        max(0.0, compared[program].gain - optimism(differences)) if program != start else 0.0,
        tuple(name for name in found.changes(start) if program[name] == start[name]),
    )


def lean(
    program: Program,
    validated: Mapping[Program, Sequence[float]],
    start: Program,
    confidence: float,
) -> Program:
    """Return a program that beats the one at the start without the changes that it does not need.

    A gain of several changes says of none that it had a part in it. So one after the other is
    taken back, in the program's order, where what is left was validated, and stays out if

    - the program is not surely worse without it, with the confidence that any change is asked for:
      by a lower mean alone, one that does nothing would stay half the time where runs vary;
    - what is left still beats the start surely: changes that only show together stay together.
    """

    def sure(new: Program, old: Program) -> bool:
        return compare(validated[new], validated[old]).p_value < 1 - confidence

    kept = program
    for name in program.changes(start):
        left = kept.replaced(name, start[name])
        if left in validated and sure(left, start) and not sure(program, left):
            kept = left
    return kept


def optimism(differences: FloatArray) -> float:
    """Return by how much the best of several programs looks better than it is, having been chosen.

    The best is chosen on examples drawn with replacement, and looked at on those left out
    (Efron and Tibshirani, 1997; for a choice, Tsamardinos et al., 2018).

    Args:
        differences: New scores minus old ones, ``[programs, examples]``; the old is a choice, too.
    """
    rng, count = np.random.default_rng(0), differences.shape[1]
    choices = np.vstack([np.zeros(count), differences])
    gaps = []
    for drawn in rng.integers(0, count, (BOOTSTRAPS, count)):
        left_out = np.setdiff1d(np.arange(count), drawn)
        if len(left_out):
            best = choices[choices[:, drawn].mean(axis=1).argmax()]
            gaps.append(best[drawn].mean() - best[left_out].mean())
    return max(0.0, float(mean(gaps))) if gaps else 0.0
