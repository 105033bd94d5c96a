"""When a compile has cost enough: small stop conditions, each of which returns a reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dspy_greater.cost.meter import Spent

Cost = Literal["metric_calls", "tokens", "seconds"]


@dataclass(frozen=True)
class Limit:
    """A stop condition: no more than so much of one kind of cost.

    Args:
        cost: Which attribute of :class:`Spent` is bounded.
        most: The bound, above 0.

    Raises:
        ValueError: If the bound is no number above 0.
    """

    cost: Cost
    most: float

    def __post_init__(self) -> None:
        number = isinstance(self.most, int | float) and not isinstance(self.most, bool)
        if not number or not 0 < self.most < math.inf:
            raise ValueError(f"{self.name} must be a number above 0, or None, not {self.most!r}")

    @property
    def name(self) -> str:
        """The argument of the optimizer that sets it."""
        return f"max_{self.cost}"

    def __call__(self, spent: Spent) -> str:
        """Return why it is time to stop; empty while it is not."""
        reached = getattr(spent, self.cost) >= self.most
        return f"{self.name}={self.most:,} reached" if reached else ""

    def share(self, parts: int, spent: Spent) -> Limit:
        """Return the limit for the first of several equal parts of what is left."""
        used: float = getattr(spent, self.cost)
        return Limit(self.cost, max(1, math.ceil(used + max(0.0, self.most - used) / parts)))


@dataclass(frozen=True)
class Bounds:
    """The stop conditions of a compile, checked after every step; the first that holds ends it."""

    limits: tuple[Limit, ...] = ()

    @classmethod
    def of(
        cls,
        max_metric_calls: int | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
    ) -> Bounds:
        """Return bounds by the optimizer's arguments; None is no bound."""
        given: dict[Cost, float | None] = {
            "metric_calls": max_metric_calls,
            "tokens": max_tokens,
            "seconds": max_seconds,
        }
        return cls(tuple(Limit(cost, most) for cost, most in given.items() if most is not None))

    def __bool__(self) -> bool:
        return bool(self.limits)

    def __iter__(self) -> Iterator[Limit]:
        return iter(self.limits)

    def __str__(self) -> str:
        return ", ".join(f"{limit.name}={limit.most:,}" for limit in self)

    def __call__(self, spent: Spent) -> str:
        """Return why it is time to stop; empty while it is not."""
        return next((reason for limit in self if (reason := limit(spent))), "")

    def share(self, parts: int, spent: Spent) -> Bounds:
        """Return the bounds of the first of several equal parts of what is left."""
        if parts == 1:
            return self
        return Bounds(tuple(limit.share(parts, spent) for limit in self))

    def affords(self, most: int, each: Spent, parts: int) -> int:
        """Return how many things, up to ``most``, one of several equal parts of all pays for.

        One has been paid for already; ``each`` is what it cost.
        """
        counts = [
            math.floor(limit.most / max(getattr(each, limit.cost), 1e-9)) - 1
            for limit in self.share(parts, Spent())
        ]
        return max(0, min([most, *counts]))

    def as_arguments(self) -> dict[str, float | None]:
        """Return the optimizer's arguments that make these bounds."""
        given = {limit.name: limit.most for limit in self}
        return {name: given.get(name) for name in ("max_metric_calls", "max_tokens", "max_seconds")}
