"""Programs race on the same examples, in growing blocks; after each the better third goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard

#: Examples after which the field is thinned; the last block is all of them.
BLOCKS = (8, 16, 32)
#: Share of the field that goes on after a block, and the fewest that do.
SHARE, FINALISTS = 1 / 3, 3
#: Examples in a race, at least, but where there are fewer.
SHORTEST = 16
#: Runs in a block, at least: a batch of fewer takes about as long.
FEWEST_RUNS = 16


@dataclass(frozen=True)
class Race:
    """A race of programs on the training examples in ``order``: successive halving, by thirds.

    It only ranks: what a winner is worth is told by examples that nothing was chosen on.
    """

    board: ScoreBoard
    order: Sequence[int]

    def fitted(self, count: int) -> tuple[Race, int]:
        """Return a race that the bounds of the compile pay for, and how many programs may enter.

        Rather than fewer programs it has fewer examples: what is not run cannot win.
        """
        runs, total = self.board.affordable(), len(self.order)
        length = max(longest(count, total, runs), min(SHORTEST, total))
        fit = next(n for n in range(count, -1, -1) if most_raced(n, length) <= runs)
        return replace(self, order=self.order[:length]), fit

    def run(self, programs: Sequence[Program], current: Program) -> list[Program]:
        """Run programs on more and more examples; return those that reach the last, best first.

        All are run on the same examples, but for those that one shows, under greedy decoding, and
        compared with ``current`` on them. Among equals the order of ``programs`` decides.
        """
        racing, done, total = list(dict.fromkeys(programs)), 0, len(self.order)
        while racing and done < total:
            done = next_stop(done, len(racing), total)
            self.board.train([current, *racing], self.order[:done])
            racing.sort(key=lambda program: -self.board.gain(program, current))
            if done < total:
                del racing[going_on(len(racing)) :]
                # By now it is known what runs of these programs cost.
                total = longest(len(racing), total, self.board.affordable(), done)
        self.board.reach(racing)
        return racing

    def winner(self, reached: Sequence[Program], current: Program) -> Program | None:
        """Return the first of those that reached the end if it beats the current program."""
        return next((p for p in reached[:1] if self.board.gain(p, current) > 0), None)


def next_stop(done: int, racing: int, total: int) -> int:
    """Return after how many of ``total`` examples a field that has run ``done`` is thinned next."""
    if racing <= FINALISTS:
        return total
    stops = (size for size in BLOCKS if done < size < total)
    return next((stop for stop in stops if (stop - done) * racing >= FEWEST_RUNS), total)


def most_raced(count: int, total: int, done: int = 0) -> int:
    """Return how often a race of ``count`` programs runs one yet, on ``total`` examples at most."""
    runs = 0
    while count and done < total:
        stop = next_stop(done, count, total)
        runs, done = runs + count * (stop - done), stop
        count = going_on(count)
    return runs


def longest(count: int, total: int, runs: float, done: int = 0) -> int:
    """Return on how many of ``total`` examples so many runs let a field race on behind ``done``."""
    return next((n for n in range(total, done, -1) if most_raced(count, n, done) <= runs), done)


def going_on(racing: int) -> int:
    """Return how many of a field go on after a block."""
    return min(racing, max(FINALISTS, math.ceil(SHARE * racing)))
