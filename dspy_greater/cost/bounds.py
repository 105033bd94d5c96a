"""When a compile has cost enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dspy_greater.basics.arguments import is_number
from dspy_greater.cost.meter import Spent


@dataclass(frozen=True)
class Bounds:
    """The stop conditions of a compile, to which races are fitted; the first that holds ends it.

    Each is on what :class:`Spent` has under its name: a number above 0, or None for no bound.
    """

    max_metric_calls: float | None = None
    max_tokens: float | None = None
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        for name, most in self._given.items():
            if not is_number(most) or most <= 0:
                raise ValueError(f"{name} must be a number above 0, or None, not {most!r}")

    @property
    def _given(self) -> dict[str, float]:
        return {name: most for name, most in vars(self).items() if most is not None}

    def __bool__(self) -> bool:
        return bool(self._given)

    def __str__(self) -> str:
        return ", ".join(f"{name}={most:,}" for name, most in self._given.items())

    def __call__(self, spent: Spent) -> str:
        """Return why it is time to stop; empty while it is not."""
        for name, most in self._given.items():
            if _of(spent, name) >= most:
                return f"{name}={most:,} reached"
        return ""

    def share(self, parts: int, spent: Spent) -> Bounds:
        """Return the bounds of the first of several equal parts of what is left."""
        if parts == 1:
            return self
        shares = {}
        for name, most in self._given.items():
            used = _of(spent, name)
            shares[name] = min(most, max(1, math.ceil(used + max(0.0, most - used) / parts)))
        return Bounds(**shares)

    def runs(self, spent: Spent, run: Spent) -> float:
        """Return for how many more runs of this cost they pay; infinity where there are none."""
        left = ((n, max(0.0, most - _of(spent, n))) for n, most in self._given.items())
        return min((each / max(_of(run, n), 1e-9) for n, each in left), default=math.inf)

    def used(self, spent: Spent) -> float:
        """Return which share of the bound that comes first is spent; 0 where there are none."""
        return max((_of(spent, name) / most for name, most in self._given.items()), default=0.0)


def _of(spent: Spent, bound: str) -> float:
    """Return what a bound is about."""
    return float(getattr(spent, bound.removeprefix("max_")))
