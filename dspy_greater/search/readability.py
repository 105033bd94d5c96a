"""How an instruction reads: its length, how likely the model finds it, and what it copied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspy_greater.search.protocols import Subject

#: Nats per token that one token of length, and one copied word, weigh as much as.
LENGTH_WEIGHT = 0.02
COPY_WEIGHT = 1.0


def log_likelihood(
    subject: Subject, instructions: Sequence[str], examples: Sequence[int]
) -> list[float]:
    """Return each instruction's mean log-probability per token after the examples' inputs."""
    items = [item for text in instructions for item in subject.proposals(text, examples)]
    means = [float(log_probs.mean()) for log_probs in subject.model.log_probs(items)]
    count = len(examples)
    return [sum(means[i : i + count]) / count for i in range(0, len(means), count)]


def readability(
    subject: Subject, instructions: Sequence[str], examples: Sequence[int]
) -> list[float]:
    """Rate how instructions read, higher is better.

    The mean log-probability per token, less a little for length and more for words copied
    from single training examples, which are of no use on other questions.
    """
    likelihoods = log_likelihood(subject, instructions, examples)
    return [
        likelihood
        - LENGTH_WEIGHT * len(subject.tokens(text))
        - COPY_WEIGHT * len(subject.copied_words(text))
        for text, likelihood in zip(instructions, likelihoods, strict=True)
    ]
