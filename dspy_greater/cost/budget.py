"""What a compile may still spend in a turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dspy_greater.cost.bounds import Bounds
from dspy_greater.cost.meter import Meter, Spent


class Budget:
    """Bounds, shared evenly among those whose turns are left, once the verdict is paid for.

    Args:
        bounds: Of the compile.
        meter: Its meter.
        waiting: Returns whose search goes on. Who else has a turn has a share like theirs.
        kept_back: Returns how many runs the verdict will take.
    """

    def __init__(
        self,
        bounds: Bounds,
        meter: Meter,
        waiting: Callable[[], Sequence[str]],
        kept_back: Callable[[], int],
    ) -> None:
        self.bounds, self.meter = bounds, meter
        self._waiting, self._kept_back = waiting, kept_back
        self._before, self._run = Spent(), Spent(1)

    def turn(self, name: str) -> None:
        """Put what is spent from now on under a name; a run costs what runs did so far."""
        self.meter.turn(name)
        self._before = self.meter.runs
        self._run = self._before.each

    def affordable(self) -> float:
        """Return for how many more runs the bounds pay in this turn, at what they cost by now."""
        bounds, spent = self.share()
        return bounds.runs(spent, self._dearer())

    def left(self) -> float:
        """Return for how many more runs the bounds pay in all, with nothing kept back."""
        return self.bounds.runs(self.meter.total(), self._dearer())

    def paid(self) -> float:
        """Return how many runs the bounds pay for in all."""
        return self.bounds.runs(Spent(), self._run)

    def over(self, runs: int) -> str:
        """Say which bound does not pay for so many more runs; empty while all do."""
        bounds, spent = self.share()
        return "" if self.affordable() >= runs else bounds(spent + self._cost(runs))

    def share(self) -> tuple[Bounds, Spent]:
        """Return the bounds of this turn, and what counts towards them."""
        waiting, meter = self._waiting(), self.meter
        gone = meter.total(*waiting) + self._cost(self._kept_back())
        own = meter.whose in waiting
        bounds = self.bounds.share(len(waiting) + (not own), gone)
        return bounds, gone + meter.spent[meter.whose] if own else gone

    def _dearer(self) -> Spent:
        """Return what a run costs in this turn or, if that is more, what runs did before it."""
        before, now = self._run, (self.meter.runs - self._before).each
        return Spent(1, max(before.tokens, now.tokens), max(before.seconds, now.seconds))

    def _cost(self, runs: int) -> Spent:
        return Spent(runs, runs * self._run.tokens, runs * self._run.seconds)
