"""Programs race the current one on the same examples, in growing blocks; losers drop out early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from dspy_greater.search.acceptance import Comparison, compare
from dspy_greater.search.programs import Program
from dspy_greater.search.readability import readability
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.view import PredictorView

#: Examples after which the field is thinned; the last block is all of them.
BLOCKS = (8, 16, 32)
#: Runs in a block, at least: a batch of fewer takes about as long.
FEWEST_RUNS = 16
#: Examples whose inputs stand before the instruction where its fluency is read.
CONTEXTS = 8


@dataclass(frozen=True)
class Race:
    """A race of programs that differ in what ``views`` see, and the rule for its winner.

    It runs the training examples in ``order``. A winner must beat the current program by
    ``multiple`` standard errors; with ``reads``, the best reader wins among equals.
    """

    board: ScoreBoard
    views: Mapping[str, PredictorView]
    order: Sequence[int]
    multiple: float
    reads: bool = True

    def run(self, programs: Sequence[Program], current: Program) -> list[Program]:
        """Run programs on more and more examples; return those that reach the last, best first.

        After each block a program drops out if the current or the leading one is ahead of it by
        more than the standard error of their paired difference. All comparisons are on the same
        examples, under greedy decoding. Among equal scores the order of ``programs`` decides, so
        the caller gives them by a softer score.
        """
        racing, done = list(dict.fromkeys(programs)), 0
        while racing and done < len(self.order):
            done = next_stop(done, len(racing), len(self.order))
            seen = self.order[:done]
            self.board.train([current, *racing], seen)
            racing.sort(key=lambda program: -sum(self.board.training_scores(program, seen)))
            ahead = (current, racing[0])
            racing = [p for p in racing if not any(self.beats(each, p, seen) for each in ahead)]
        return racing

    def accepted(
        self, reached: Sequence[Program], current: Program, noise: float
    ) -> Program | None:
        """Return the program to go on with, None for the current one.

        It is proven better on the training examples, by more than ``noise`` changes a score, no
        worse on the validation examples, and of those that the leader leaves the best reader.
        """
        leading = [p for p in reached if not self.beats(reached[0], p, self.order)]
        proven = [p for p in leading if self.proven(p, current, noise)]
        best = self._best_reader(proven)
        if best is None:
            return None
        board = self.board
        level = board.validation_score(best) >= board.validation_score(current)
        return best if level else None

    def proven(self, program: Program, current: Program, noise: float) -> bool:
        """Whether a program beats the current one on the training examples beyond noise."""
        comparison = self._compared(program, current, self.order)
        return comparison.exceeds(self.multiple) and comparison.gain > noise

    def improvable(self, current: Program) -> bool:
        """Whether even a program that is right on every example would be accepted."""
        scores = self.board.training_scores(current, self.order)
        return compare([1.0] * len(scores), scores).exceeds(self.multiple)

    def beats(self, one: Program, other: Program, examples: Sequence[int]) -> bool:
        """Whether one program is ahead of another by more than a standard error."""
        return self._compared(one, other, examples).exceeds(1.0)

    def _compared(self, one: Program, other: Program, examples: Sequence[int]) -> Comparison:
        new, old = (self.board.training_scores(each, examples) for each in (one, other))
        return compare(new, old)

    def _best_reader(self, programs: Sequence[Program]) -> Program | None:
        """Return the program whose instructions read best in the mean; None where there is none."""
        if not programs or not self.reads:
            return next(iter(programs), None)
        examples = self.order[:CONTEXTS]
        marks = [
            readability(view, [program[name] for program in programs], examples)
            for name, view in self.views.items()
        ]
        totals = [sum(column) for column in zip(*marks, strict=True)]
        return max(zip(totals, programs, strict=True), key=lambda pair: pair[0])[1]


def next_stop(done: int, racing: int, total: int) -> int:
    """Return after how many of ``total`` examples a field that has run ``done`` is thinned next."""
    stops = (size for size in BLOCKS if done < size < total)
    return next((stop for stop in stops if (stop - done) * racing >= FEWEST_RUNS), total)


def noise_floor(board: ScoreBoard, program: Program, order: Sequence[int]) -> float:
    """Return the mean absolute change of a score when the same prompt is run once more.

    Half of the examples are run, the other way round, in batches of another make-up.
    """
    again = list(reversed(order[: (len(order) + 1) // 2]))
    runs, scores = board.runner.repeat(program, again), board.training_scores(program, again)
    return mean(abs(run.score - score) for run, score in zip(runs, scores, strict=True))
