"""What is known of an incumbent before any edit is run: its rollouts, weighed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from dspy_greater.search.verified.objectives import (
    AnswerLikelihood,
    Rollouts,
    SuccessLikelihood,
    Term,
    runs_in,
    sampled,
)

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from dspy_greater.search.protocols import Subject
    from dspy_greater.search.verified.config import VerifiedConfig
    from dspy_greater.search.verified.race import ScoreBook


@dataclass
class Evidence:
    """Gathers and weighs rollouts, once for each incumbent.

    It begins with the greedy runs that the incumbent's own race has made. Where too few of these
    were rewarded, some examples are sampled once, then as often again as before, until there are
    enough or all are made.

    Args:
        book: Has the incumbent's greedy runs.
        config: How many rollouts.
        examples: Indices of the training examples to sample on.
        seed: Seed of the sampling; the same for every incumbent.

    Attributes:
        stands_in: Whether the gold answer's likelihood stands in for that of success, since none
            of the present incumbent's rollouts was rewarded.
    """

    book: ScoreBook
    config: VerifiedConfig
    examples: Sequence[int]
    seed: str
    stands_in: bool = field(default=False, init=False)
    _rollouts: Rollouts | None = field(default=None, init=False, repr=False)
    _terms: list[Term] = field(default_factory=list, init=False, repr=False)

    def terms(self, instruction: str) -> list[Term]:
        """Return some of the objective's terms on an instruction's rollouts."""
        self._gather(instruction)
        return self._terms

    def solved(self, instruction: str) -> list[tuple[int, ...]]:
        """Return contexts of a few examples, each with a rollout that got it right."""
        rollouts = self._gather(instruction)
        return solved(self.book.subject, rollouts, self.config.solved_contexts)

    def _gather(self, instruction: str) -> Rollouts:
        """Sample until there is enough to go by."""
        if self._rollouts is not None and self._rollouts.instruction == instruction:
            return self._rollouts
        rng = random.Random(self.seed)
        seeds = [rng.randrange(2**31) for _ in range(self.config.rollouts)]
        rollouts = self.book.rollouts(instruction)
        terms, made = SuccessLikelihood().terms(self.book.subject, rollouts), 0
        while made < len(seeds) and runs_in(terms) < self.config.terms:
            again = max(1, made)
            rollouts = self._with_runs(rollouts, seeds[made : made + again])
            terms = SuccessLikelihood().terms(self.book.subject, rollouts)
            made += again
        # The gold answer always has a gradient.
        self.stands_in = not terms
        terms = terms or AnswerLikelihood().terms(self.book.subject, rollouts)
        self._rollouts, self._terms = rollouts, sampled(terms, self.config.terms)
        return rollouts

    def _with_runs(self, rollouts: Rollouts, seeds: Sequence[int]) -> Rollouts:
        """Return rollouts and one more of each example for each seed."""
        temperature = self.config.sampling_temperature
        more = self.book.subject.sample(
            rollouts.instruction, self.examples, seeds, temperature, self.book.limit
        )
        runs = tuple(chain.from_iterable(more))
        return Rollouts(
            instruction=rollouts.instruction,
            examples=(*rollouts.examples, *tuple(self.examples) * len(seeds)),
            runs=(*rollouts.runs, *runs),
            rewards=(*rollouts.rewards, *(run.score for run in runs)),
        )


def solved(subject: Subject, rollouts: Rollouts, count: int) -> list[tuple[int, ...]]:
    """Return contexts of the first examples of which a run got it right, with that run."""
    right: dict[int, Run] = {}
    for example, run in zip(rollouts.examples, rollouts.runs, strict=True):
        if run.score >= 1:
            right.setdefault(example, run)
    chosen = list(right)[:count]
    return subject.contexts(chosen, [right[example] for example in chosen])
