"""Where a replay takes its examples from: a task's own questions, or a model fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from examples.benchmarks.matrix import luck, spread

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Drawing:
    """Scores ``[instructions, examples]``, and what each instruction is worth, ``[instructions]``.

    The first instruction is the program's own.
    """

    train: Scores
    validation: Scores
    worth: NDArray[np.float64]


#: Draws so many training and validation examples from the scores of a task's questions.
Draw = Callable[[Scores, int, int, Generator], Drawing]


def split(scores: Scores, train: int, validation: int, rng: Generator) -> Drawing:
    """Split the questions anew; an instruction is worth what it scores on those held out."""
    if train + validation >= scores.shape[1]:
        raise SystemExit(
            f"{scores.shape[1]} questions leave none held out: lower --train or --validation"
        )
    order = rng.permutation(scores.shape[1])
    seen, checked, rest = np.split(order, [train, train + validation])
    return Drawing(scores[:, seen], scores[:, checked], scores[:, rest].mean(axis=1))


def again(scores: Scores, train: int, validation: int, rng: Generator) -> Drawing:
    """Draw questions with replacement, as many as a user would have; all of them are the truth.

    That counts the luck of these few as an instruction's own.
    """
    seen, checked = (rng.integers(0, scores.shape[1], size) for size in (train, validation))
    return Drawing(scores[:, seen], scores[:, checked], scores.mean(axis=1))


def simulated(ahead: float | None = None) -> Draw:
    """Return a way to draw scores from a model of the task, in which the truth is known.

    Instructions are worth what a normal distribution draws, with the :func:`spread` that they show
    beyond chance; the program's own what it scored, as far as that was not luck. On a question
    they do as much alike as they did.

    Args:
        ahead: By how many spreads the program's own is better than others are in the mean, instead.
    """

    def draw(scores: Scores, train: int, validation: int, rng: Generator) -> Drawing:
        level, beyond, means = scores.mean(), spread(scores), scores.mean(axis=1)
        worth = level + beyond * rng.standard_normal(len(scores))
        true_share = min(1.0, beyond**2 / max(means.var(ddof=1), 1e-12))
        worth[0] = level + (true_share * (means[0] - level) if ahead is None else ahead * beyond)
        worth = worth.clip(0.01, 0.99)
        right = answered(worth, train + validation, alike(scores), rng)
        return Drawing(right[:, :train], right[:, train:], worth)

    return draw


def alike(scores: Scores) -> float:
    """Return which share of a score's variance is the question's, in a two-way layout."""
    within = luck(scores)
    between = max(0.0, scores.mean(axis=0).var(ddof=1) - within / len(scores))
    return float(between / max(between + within, 1e-12))


def answered(worth: NDArray[np.float64], examples: int, share: float, rng: Generator) -> Scores:
    """Return scores ``[instructions, examples]`` of instructions that are worth so much.

    Behind each is a normal value of which a part is the example's, so that scores are about as much
    :func:`alike` as ``share`` says.
    """
    latent = np.sin(np.pi / 2 * min(share, 0.99))  # exact where half of the answers are right
    theirs, own = rng.standard_normal(examples), rng.standard_normal((len(worth), examples))
    bars = np.array([NormalDist().inv_cdf(each) for each in worth])
    values = np.sqrt(latent) * theirs + np.sqrt(1 - latent) * own
    right: Scores = (values < bars[:, None]).astype(float)
    return right
