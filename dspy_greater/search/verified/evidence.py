"""What is known of an incumbent before any edit is run: its sampled rollouts, weighed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dspy_greater.search.verified.objectives import Answer, Rollouts, Term, softened

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from dspy_greater.search.protocols import Subject
    from dspy_greater.search.verified.config import VerifiedConfig


@dataclass
class Evidence:
    """Samples and weighs rollouts, once for each incumbent.

    Args:
        subject: The predictor being improved.
        config: How many rollouts, and what they are weighed by.
        examples: Indices of the training examples to sample on.
        seed: Seed of the sampling; the same for every incumbent.
    """

    subject: Subject
    config: VerifiedConfig
    examples: Sequence[int]
    seed: str
    _rollouts: Rollouts | None = field(default=None, init=False, repr=False)
    _terms: tuple[str, list[Term]] = field(default=("", []), init=False, repr=False)

    def terms(self, instruction: str) -> list[Term]:
        """Return the objective's terms on an instruction's rollouts."""
        if self._terms[0] != instruction:
            rollouts = self.rollouts(instruction)
            if self.config.soft_rewards:
                rollouts = softened(self.subject, rollouts)
            # Rollouts that are all right or all wrong may hold no contrast; the gold answer
            # always has a gradient.
            terms = self.config.objective.terms(self.subject, rollouts)
            self._terms = instruction, terms or Answer().terms(self.subject, rollouts)
        return self._terms[1]

    def solved(self, instruction: str) -> list[tuple[int, ...]]:
        """Return contexts of a few examples, each with a rollout that got it right."""
        return solved(self.subject, self.rollouts(instruction), self.config.solved_contexts)

    def rollouts(self, instruction: str) -> Rollouts:
        """Return an instruction's rollouts."""
        if self._rollouts is None or self._rollouts.instruction != instruction:
            rng = random.Random(self.seed)
            seeds = [rng.randrange(2**31) for _ in range(self.config.rollouts)]
            temperature = self.config.sampling_temperature
            sampled = self.subject.sample(instruction, self.examples, seeds, temperature)
            self._rollouts = Rollouts(
                instruction=instruction,
                examples=tuple(self.examples) * len(seeds),
                runs=tuple(run for runs in sampled for run in runs),
                rewards=tuple(run.score for runs in sampled for run in runs),
            )
        return self._rollouts


def solved(subject: Subject, rollouts: Rollouts, count: int) -> list[tuple[int, ...]]:
    """Return contexts of the first examples of which a run got it right, with that run."""
    right: dict[int, Run] = {}
    for example, run in zip(rollouts.examples, rollouts.runs, strict=True):
        if run.score >= 1:
            right.setdefault(example, run)
    chosen = list(right)[:count]
    return subject.contexts(chosen, [right[example] for example in chosen])
