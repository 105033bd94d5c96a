"""What a better instruction should make the model write, told on cached rollouts.

An objective weighs log-probabilities: of the gold answer after a rollout's reasoning, of the
whole rollout, of the instruction itself. All of them share one form,
``sum_i w_i * mean_t log p(target_t)``, to be raised; so one forward and backward gives the
gradient at every position of the instruction, and one forward the exact value under another
instruction, without generating anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from dspy_greater.spans import Span

if TYPE_CHECKING:
    from dspy_greater.model import Targeted
    from dspy_greater.program import Run
    from dspy_greater.search.protocols import Subject


@dataclass(frozen=True)
class Rollouts:
    """Runs under one instruction, greedy or sampled, one or several for each example.

    Attributes:
        instruction: The instruction that they were written under.
        examples: Index of the training example of each run.
        runs: The runs.
        rewards: What each run is worth; the metric, or a softer measure of the same.
    """

    instruction: str
    examples: tuple[int, ...]
    runs: tuple[Run, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True)
class Term:
    """``weight`` times the mean log-probability of an item's targets.

    Attributes:
        item: A prompt with targets.
        weight: Its weight.
        first: Where a run has several items, as many as it has calls of the predictor: the first
            of them, for all others.
    """

    item: Targeted
    weight: float
    first: Targeted | None = None

    @property
    def prompt(self) -> tuple[int, ...]:
        """What its run began with, or where its run has no other item, what it begins with."""
        item = self.first or self.item
        return tuple(item.ids[: item.targets.start])


class Objective(Protocol):
    """Weighs cached rollouts; higher values are better."""

    @property
    def sampled_only(self) -> bool:
        """Whether greedy runs, which are there anyway, cannot stand in for sampled ones."""

    def terms(self, subject: Subject, rollouts: Rollouts) -> list[Term]:
        """Return the weighted items; empty when the rollouts hold no signal."""


@dataclass(frozen=True)
class Answer:
    """The gold answer's mean log-probability after each rollout's reasoning.

    The published loss (GReaTer, section 3.3) at temperature 1 without its fluency term. It has a
    gradient even where every answer is wrong, but it cannot see which reasoning is written.
    """

    sampled_only: ClassVar[bool] = False

    def terms(self, subject: Subject, rollouts: Rollouts) -> list[Term]:
        """Weigh every rollout alike."""
        items = subject.answers(rollouts.instruction, rollouts.runs, rollouts.examples)
        return [Term(item, 1 / len(items)) for item in items if item is not None]


@dataclass(frozen=True)
class Policy:
    """Log-probability of the model's own rollouts, weighted by their advantage.

    A rollout's is the sum over all that the predictor wrote in it: over its calls, where an agent
    or a loop calls it several times. The advantage is the reward minus the mean reward of the same
    example's other rollouts, so that the gradient is the score-function estimate of the gradient
    of the expected metric (REINFORCE with a leave-one-out baseline), and a difference of values
    estimates a difference of the metric. A greedy run is no sample of it.
    """

    sampled_only: ClassVar[bool] = True

    def terms(self, subject: Subject, rollouts: Rollouts) -> list[Term]:
        """Weigh rollouts by advantage; those of an example without contrast drop out."""
        return _completions(subject, rollouts, advantages(rollouts))


@dataclass(frozen=True)
class Success:
    """Log-probability of the successful rollouts, weighted by reward.

    The score-function estimate without a baseline, on the scale of :class:`Policy`. It needs
    the successful rollouts alone, a fraction of the work where few succeed, but cannot tell an
    edit that makes the right ones likelier from one that makes all of them likelier. Greedy runs
    that succeed are as good for that as sampled ones, and cost nothing more.
    """

    sampled_only: ClassVar[bool] = False

    def terms(self, subject: Subject, rollouts: Rollouts) -> list[Term]:
        """Weigh rollouts by reward; failures drop out."""
        return _completions(subject, rollouts, rollouts.rewards)


@dataclass(frozen=True)
class Mixture:
    """A weighted sum of objectives.

    Attributes:
        parts: Objectives with their weights.
    """

    parts: tuple[tuple[Objective, float], ...]

    @property
    def sampled_only(self) -> bool:
        """Whether any part needs samples."""
        return any(objective.sampled_only for objective, _ in self.parts)

    def terms(self, subject: Subject, rollouts: Rollouts) -> list[Term]:
        """Return all parts' terms, scaled."""
        return [
            replace(term, weight=weight * term.weight)
            for objective, weight in self.parts
            for term in objective.terms(subject, rollouts)
        ]


def softened(subject: Subject, rollouts: Rollouts) -> Rollouts:
    """Return the rollouts with rewards that also see how close a wrong answer came.

    The reward becomes the mean of the metric and of the probability of the gold answer after
    the rollout's own reasoning (the geometric mean over its tokens), so that an example whose
    rollouts all fail, or all succeed, still tells them apart. Without a label it stays the metric.
    """
    items = subject.answers(rollouts.instruction, rollouts.runs, rollouts.examples)
    log_probs = iter(subject.model.log_probs([item for item in items if item is not None]))
    rewards = tuple(
        reward if item is None else (reward + math.exp(float(next(log_probs).mean()))) / 2
        for reward, item in zip(rollouts.rewards, items, strict=True)
    )
    return replace(rollouts, rewards=rewards)


def advantages(rollouts: Rollouts) -> tuple[float, ...]:
    """Return each reward minus the mean of the same example's other rewards."""
    groups: dict[int, list[float]] = {}
    for example, reward in zip(rollouts.examples, rollouts.rewards, strict=True):
        groups.setdefault(example, []).append(reward)

    def advantage(example: int, reward: float) -> float:
        group = groups[example]
        # reward - (sum - reward) / (n - 1), written so that equal rewards give exactly 0.
        return sum(reward - other for other in group) / max(len(group) - 1, 1)

    pairs = zip(rollouts.examples, rollouts.rewards, strict=True)
    return tuple(advantage(example, reward) for example, reward in pairs)


def fluency_terms(
    subject: Subject, instruction: str, examples: Sequence[int], weight: float
) -> list[Term]:
    """Return ``weight`` times the instruction's own mean log-probability after its inputs."""
    items = subject.proposals(instruction, examples) if weight else []
    return [Term(item, weight / len(items)) for item in items]


def runs_in(terms: Sequence[Term]) -> int:
    """Return how many runs terms are of; each counts once, however many calls it has."""
    return sum(term.first is None for term in terms)


def parted(terms: Sequence[Term], share: float) -> tuple[list[Term], list[Term]]:
    """Part terms in two, the first with at least a share of them.

    Terms of runs that began with one prompt stay together: their weights balance, and what an
    edit does to all of them alike says nothing.
    """
    prompts: dict[tuple[int, ...], list[Term]] = {}
    for term in terms:
        prompts.setdefault(term.prompt, []).append(term)
    first: list[Term] = []
    rest: list[Term] = []
    for together in prompts.values():
        (first if len(first) < share * len(terms) else rest).extend(together)
    return first, rest


def sampled(terms: Sequence[Term], count: int) -> list[Term]:
    """Return the first prompts' terms, scaled up to stand for all: of ``count`` runs or so."""
    runs = runs_in(terms)
    some, _ = parted(terms, count / max(runs, 1))
    return [replace(term, weight=term.weight * runs / runs_in(some)) for term in some]


def with_tokens(item: Targeted, tokens: Sequence[int]) -> Targeted:
    """Return an item with other tokens in the place of its instruction.

    Exact wherever the text around the instruction is tokenised as before, which
    :meth:`Subject.text_of` has made sure of.
    """
    inputs = item.inputs
    assert inputs is not None
    ids = (*item.ids[: inputs.start], *tokens, *item.ids[inputs.end :])
    there = Span(inputs.start, inputs.start + len(tokens))
    if item.targets == inputs:
        return replace(item, ids=ids, targets=there, inputs=there)
    grown = len(tokens) - (inputs.end - inputs.start)
    targets = Span(item.targets.start + grown, item.targets.end + grown)
    return replace(item, ids=ids, targets=targets, inputs=there)


def _completions(subject: Subject, rollouts: Rollouts, weights: Sequence[float]) -> list[Term]:
    """Weigh whole completions; ``weight * sum log p`` is ``weight * length * mean log p``."""
    kept = [(run, weight) for run, weight in zip(rollouts.runs, weights, strict=True) if weight]
    written = subject.completions(rollouts.instruction, [run for run, _ in kept])
    return [
        Term(
            item,
            weight * (item.targets.end - item.targets.start) / len(rollouts.runs),
            first=items[0] if place else None,
        )
        for items, (_, weight) in zip(written, kept, strict=True)
        for place, item in enumerate(items)
    ]
