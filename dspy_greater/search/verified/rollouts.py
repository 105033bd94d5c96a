"""What is known of the current program before any edit is run: its rollouts, weighed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from dspy_greater.program import Run
from dspy_greater.search.programs import Program
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.verified.objectives import (
    Rollouts,
    Term,
    answer_likelihood,
    runs_in,
    sampled,
    success_likelihood,
)
from dspy_greater.search.verified.sizes import Sizes
from dspy_greater.search.view import PredictorView


@dataclass
class RolloutBuffer:
    """Gathers and weighs rollouts, once for each current program.

    It begins with the greedy runs of the program's own race. Where too few of them were rewarded,
    the first examples in ``order`` are sampled once, then as often again as before, until there are
    enough. ``stands_in`` says whether the gold answer's likelihood stands in for the objective,
    which found nothing to weigh in the present rollouts.
    """

    board: ScoreBoard
    view: PredictorView
    config: Sizes
    order: Sequence[int]
    seed: str
    stands_in: bool = field(default=False, init=False)
    _program: Program | None = field(default=None, init=False, repr=False)
    _rollouts: Rollouts | None = field(default=None, init=False, repr=False)
    _terms: list[Term] = field(default_factory=list, init=False, repr=False)

    def terms(self, program: Program) -> list[Term]:
        """Return some of the objective's terms on a program's rollouts."""
        self._gather(program)
        return self._terms

    def solved(self, program: Program) -> list[tuple[int, ...]]:
        """Return contexts of a few examples, each with a rollout that got it right."""
        return solved(self.view, self._gather(program), self.config.solved_contexts)

    def _gather(self, program: Program) -> Rollouts:
        """Sample until there is enough to go by."""
        if self._rollouts is not None and self._program == program:
            return self._rollouts
        rng = random.Random(self.seed)
        seeds = [rng.randrange(2**31) for _ in range(self.config.rollouts)]
        rollouts, made = greedy(self.board, self.view, program, self.order), 0
        terms = success_likelihood(self.view, rollouts)
        while made < len(seeds) and runs_in(terms) < self.config.terms:
            again = max(1, made)
            rollouts = self._with_runs(program, rollouts, seeds[made : made + again])
            terms = success_likelihood(self.view, rollouts)
            made += again
        # Where no rollout was rewarded there is nothing to weigh; the gold answer always has a
        # gradient.
        self.stands_in = not terms
        terms = terms or answer_likelihood(self.view, rollouts)
        self._program, self._rollouts = program, rollouts
        self._terms = sampled(terms, self.config.terms)
        return rollouts

    def _with_runs(self, program: Program, rollouts: Rollouts, seeds: Sequence[int]) -> Rollouts:
        """Return rollouts and one more of each example for each seed."""
        config, examples = self.config, tuple(self.order[: self.config.rollout_examples])
        more = self.board.runner.sample(
            program, examples, seeds, config.sampling_temperature, self.board.limit
        )
        runs = tuple(chain.from_iterable(more))
        return Rollouts(
            instruction=rollouts.instruction,
            examples=(*rollouts.examples, *examples * len(seeds)),
            runs=(*rollouts.runs, *runs),
            rewards=(*rollouts.rewards, *(run.score for run in runs)),
        )


def greedy(
    board: ScoreBoard, view: PredictorView, program: Program, order: Sequence[int]
) -> Rollouts:
    """Return a program's greedy runs on all training examples."""
    return Rollouts(
        instruction=program[view.name],
        examples=tuple(order),
        runs=tuple(board.runs(program, order)),
        rewards=tuple(board.training_scores(program, order)),
    )


def solved(view: PredictorView, rollouts: Rollouts, count: int) -> list[tuple[int, ...]]:
    """Return contexts of the first examples of which a run got it right, with that run."""
    right: dict[int, Run] = {}
    for example, run in zip(rollouts.examples, rollouts.runs, strict=True):
        if run.score >= 1:
            right.setdefault(example, run)
    chosen = list(right)[:count]
    return view.contexts(chosen, [right[example] for example in chosen])
