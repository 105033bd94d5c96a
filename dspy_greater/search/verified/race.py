"""Candidates race the incumbent on the same examples, in growing blocks; losers drop out early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import TYPE_CHECKING

from dspy_greater.search.acceptance import compare
from dspy_greater.search.verified.objectives import Rollouts

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from dspy_greater.search.protocols import Subject

#: Examples after which the field is thinned; the last block is all of them.
BLOCKS = (8, 16, 32)
#: Runs in a block, at least: a batch of fewer takes about as long.
FEWEST_RUNS = 16
#: Tokens that an answer may always have: room to reason where the incumbent does not.
LEAST_LIMIT = 256


@dataclass
class ScoreBook:
    """The greedy score of each instruction on each training example that it was run on.

    Attributes:
        subject: Runs the program.
        order: Indices of the training examples, in the order in which races use them.
        scores: By instruction, the scores on the first examples of ``order``.
        limit: Most tokens of an answer; None for the language model's own limit.
    """

    subject: Subject
    order: Sequence[int]
    scores: dict[str, list[float]] = field(default_factory=dict)
    limit: int | None = None
    _runs: dict[str, list[Run]] = field(default_factory=dict, init=False, repr=False)

    def fill(self, instructions: Sequence[str], count: int) -> None:
        """Run instructions, side by side, on what they lack of the first ``count`` examples."""
        lacking: dict[int, list[str]] = {}
        for text in instructions:
            done = len(self.scores.setdefault(text, []))
            if done < count:
                lacking.setdefault(done, []).append(text)
        for done, texts in lacking.items():
            runs = self.subject.roll_out(texts, self.order[done:count], self.limit)
            for text, new in zip(texts, runs, strict=True):
                self.scores[text] += [run.score for run in new]
                self._runs.setdefault(text, []).extend(new)

    def rollouts(self, instruction: str) -> Rollouts:
        """Return the greedy runs behind an instruction's scores on all training examples.

        Runs are not kept from one process to the next: there they are made once more.
        """
        self.fill([instruction], len(self.order))
        runs = self._runs.get(instruction, [])
        if len(runs) < len(self.order):
            (runs,) = self.subject.roll_out([instruction], self.order, self.limit)
        self._runs = {instruction: runs}  # nobody asks for those of an earlier incumbent
        return Rollouts(
            instruction=instruction,
            examples=tuple(self.order),
            runs=tuple(runs),
            rewards=tuple(self.scores[instruction]),
        )

    def longest(self, instruction: str) -> int:
        """Return the bytes of an instruction's longest answer, as far as its runs are at hand."""
        return max((run.longest for run in self._runs.get(instruction, [])), default=0)

    def mean(self, instruction: str) -> float:
        """Return an instruction's mean score on the examples it was run on."""
        return mean(self.scores[instruction])


def race(book: ScoreBook, candidates: Sequence[str], incumbent: str) -> list[str]:
    """Run candidates on more and more examples and return those that reach the last, best first.

    After each block a candidate drops out if the incumbent or the leading candidate is ahead of
    it by more than the standard error of their paired difference. All comparisons are on the
    same examples, under greedy decoding. Among equal scores the order of ``candidates`` decides,
    so the caller gives them by a softer score.
    """
    total, done = len(book.order), 0
    field_ = list(dict.fromkeys(candidates))
    while field_ and done < total:
        done = next_stop(done, len(field_), total)
        book.fill([incumbent, *field_], done)
        field_ = _survivors(book, field_, incumbent, done)
    return field_


def limit_of(longest: int) -> int | None:
    """Return how many tokens an answer may have in a race; None where nothing is known.

    As many as the incumbent's longest answer has bytes, which is about four times its tokens. A
    batch takes as long as its longest row, and under a bad instruction a greedy answer may go
    round in circles to the language model's own limit.

    Args:
        longest: Bytes of the incumbent's longest answer; 0 where none could be read.
    """
    return max(LEAST_LIMIT, longest) if longest else None


def next_stop(done: int, racing: int, total: int) -> int:
    """Return after how many of ``total`` examples a field that has run ``done`` is thinned next."""
    stops = (size for size in BLOCKS if done < size < total)
    return next((stop for stop in stops if (stop - done) * racing >= FEWEST_RUNS), total)


def _survivors(book: ScoreBook, candidates: Sequence[str], incumbent: str, count: int) -> list[str]:
    """Return the candidates that stay in the race, best first."""

    def beats(one: str, other: str) -> bool:
        return compare(book.scores[one][:count], book.scores[other][:count]).exceeds(1.0)

    ranked = sorted(candidates, key=lambda text: -sum(book.scores[text][:count]))
    return [t for t in ranked if not beats(incumbent, t) and not beats(ranked[0], t)]
