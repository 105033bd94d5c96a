"""What a better instruction should make the model write, told on cached rollouts.

An objective weighs log-probabilities: of the whole rollout, of the gold answer after a rollout's
reasoning, of the instruction itself. All of them share one form,
``sum_i w_i * mean_t log p(target_t)``, to be raised; so one forward and backward gives the
gradient at every position of the instruction, and one forward the exact value under another
instruction, without generating anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dspy_greater.basics.spans import Span
from dspy_greater.model import Targeted
from dspy_greater.program import Run
from dspy_greater.search.view import PredictorView


@dataclass(frozen=True)
class Rollouts:
    """Runs under one instruction, greedy or sampled, each with its example and its metric."""

    instruction: str
    examples: tuple[int, ...]
    runs: tuple[Run, ...]
    rewards: tuple[float, ...]


@dataclass(frozen=True)
class Term:
    """``weight`` times the mean log-probability of an item's targets.

    A run has as many items as it has calls of the predictor; all others name the ``first``.
    """

    item: Targeted
    weight: float
    first: Targeted | None = None

    @property
    def prompt(self) -> tuple[int, ...]:
        """What its run began with, or where its run has no other item, what it begins with."""
        item = self.first or self.item
        return tuple(item.ids[: item.targets.start])


def answer_likelihood(view: PredictorView, rollouts: Rollouts) -> list[Term]:
    """Weigh the gold answer's mean log-probability after each rollout's reasoning.

    The published loss (GReaTer, section 3.3) at temperature 1 without its fluency term. It has a
    gradient even where every answer is wrong, but it cannot see which reasoning is written.
    """
    items = view.answers(rollouts.instruction, rollouts.runs, rollouts.examples)
    return [Term(item, 1 / len(items)) for item in items if item is not None]


def success_likelihood(view: PredictorView, rollouts: Rollouts) -> list[Term]:
    """Weigh the log-probability of rollouts by reward; failures drop out, and none may be left.

    A rollout's is the sum over all that the predictor wrote in it: over its calls, where an agent
    or a loop calls it several times. This is the score-function estimate of the gradient of the
    expected metric (REINFORCE) without a baseline. It needs the successful rollouts alone, a
    fraction of the work where few succeed, but cannot tell an edit that makes the right ones
    likelier from one that makes all of them likelier. Greedy runs that succeed are as good for
    that as sampled ones, and cost nothing more.
    """
    pairs = zip(rollouts.runs, rollouts.rewards, strict=True)
    kept = [(run, reward) for run, reward in pairs if reward]
    written = view.completions(rollouts.instruction, [run for run, _ in kept])
    return [
        # A sum of log-probabilities is their number times their mean.
        Term(
            item,
            reward * (item.targets.end - item.targets.start) / len(rollouts.runs),
            first=items[0] if place else None,
        )
        for items, (_, reward) in zip(written, kept, strict=True)
        for place, item in enumerate(items)
    ]


def fluency_terms(
    view: PredictorView, instruction: str, examples: Sequence[int], weight: float
) -> list[Term]:
    """Return ``weight`` times the instruction's own mean log-probability after its inputs."""
    items = view.proposals(instruction, examples) if weight else []
    return [Term(item, weight / len(items)) for item in items]


def runs_in(terms: Sequence[Term]) -> int:
    """Return how many runs terms are of; each counts once, however many calls it has."""
    return sum(term.first is None for term in terms)


def parted(terms: Sequence[Term], share: float) -> tuple[list[Term], list[Term]]:
    """Part terms in two, the first with at least a share of them.

    Terms of runs that began with one prompt stay together: it is read once for all of them.
    """
    prompts: dict[tuple[int, ...], list[Term]] = {}
    for term in terms:
        prompts.setdefault(term.prompt, []).append(term)
    first: list[Term] = []
    rest: list[Term] = []
    for together in prompts.values():
        # A share times a number may come out a rounding error above a whole number.
        (first if len(first) < share * len(terms) - 1e-9 else rest).extend(together)
    return first, rest


def sampled(terms: Sequence[Term], count: int) -> list[Term]:
    """Return the first prompts' terms, scaled up to stand for all: of ``count`` runs or so."""
    runs = runs_in(terms)
    some, _ = parted(terms, count / max(runs, 1))
    return [replace(term, weight=term.weight * runs / runs_in(some)) for term in some]


def with_tokens(item: Targeted, tokens: Sequence[int]) -> Targeted:
    """Return an item with other tokens in the place of its instruction.

    Exact wherever the text around the instruction is tokenised as before, which
    :meth:`PredictorView.text_of` has made sure of.
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
