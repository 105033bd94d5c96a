"""Who has spent what of a budget that several searches share."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from dspy_greater.search.budget import Budget

#: What is counted, in the names and the order of a budget's bounds.
COSTS = ("metric_calls", "tokens", "seconds")


class Accounts:
    """One account for each who spends; what those leave who are done goes evenly to the others.

    Args:
        budget: Bounds of all together.
        meter: Returns what was spent so far in all, one number for each of :data:`COSTS`.
        names: Who may spend.

    Attributes:
        spent: Costs by name.
    """

    def __init__(
        self, budget: Budget, meter: Callable[[], Mapping[str, float]], names: Iterable[str]
    ) -> None:
        self.budget = budget
        self.spent = {name: dict.fromkeys(COSTS, 0.0) for name in names}
        self._meter = meter
        self._paid = dict(meter())

    def pay(self, name: str) -> dict[str, float]:
        """Put all that was spent since the last time on somebody's account, and return it."""
        now = dict(self._meter())
        cost = {each: now[each] - self._paid[each] for each in COSTS}
        self._paid = now
        self.spent[name] = {each: self.spent[name][each] + cost[each] for each in COSTS}
        return cost

    def bound(self, waiting: Collection[str]) -> Budget:
        """Return how far the account of each who goes on may rise, above what the others spent."""
        return self.budget.share(len(waiting), **_amounts(self._gone(waiting)))

    def over(self, name: str, waiting: Collection[str]) -> str:
        """Say which bound one of those who go on has reached, ``""`` while none is."""
        gone, mine = self._gone(waiting), self.spent[name]
        used = {each: gone[each] + mine[each] for each in COSTS}
        return self.bound(waiting).spent(**_amounts(used))

    def affordable(self, most: int, cost: Mapping[str, float], parts: int) -> int:
        """Return how many things one of several even parts of the whole budget pays for.

        Args:
            most: Where nothing is bounded.
            cost: Of one; one has been paid for already.
            parts: How many parts there are.
        """
        share = self.budget.share(parts, **_amounts(dict.fromkeys(COSTS, 0.0)))
        limits = (share.max_metric_calls, share.max_tokens, share.max_seconds)
        counts = [
            math.floor(limit / max(cost[name], 1e-9)) - 1
            for name, limit in zip(COSTS, limits, strict=True)
            if limit is not None
        ]
        return max(0, min([most, *counts]))

    def _gone(self, waiting: Collection[str]) -> dict[str, float]:
        """Return what those have spent who go on no further."""
        over = [spent for name, spent in self.spent.items() if name not in waiting]
        return {each: sum(spent[each] for spent in over) for each in COSTS}


def _amounts(costs: Mapping[str, float]) -> dict[str, Any]:
    """Return costs as a budget takes them: calls and tokens whole."""
    return {
        "metric_calls": int(costs["metric_calls"]),
        "tokens": int(costs["tokens"]),
        "seconds": costs["seconds"],
    }
