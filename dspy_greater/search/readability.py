"""How an instruction reads: its length, how likely the model finds it, and what it copied."""

from __future__ import annotations

from collections.abc import Sequence

from dspy_greater.search.view import PredictorView

#: Nats per token that one token of length, and one copied word, weigh as much as.
LENGTH_WEIGHT = 0.02
COPY_WEIGHT = 1.0


def log_likelihood(
    view: PredictorView, instructions: Sequence[str], examples: Sequence[int]
) -> list[float]:
    """Return each instruction's mean log-probability per token after the examples' inputs."""
    items = [item for text in instructions for item in view.proposals(text, examples)]
    means = [float(log_probs.mean()) for log_probs in view.model.log_probs(items)]
    count = len(examples)
    return [sum(means[i : i + count]) / count for i in range(0, len(means), count)]


def readability(
    view: PredictorView, instructions: Sequence[str], examples: Sequence[int]
) -> list[float]:
    """Rate how instructions read, higher is better.

    The mean log-probability per token, less a little for length and more for words copied
    from single training examples, which are of no use on other questions.
    """
    likelihoods = log_likelihood(view, instructions, examples)
    return [
        likelihood
        - LENGTH_WEIGHT * len(view.tokens(text))
        - COPY_WEIGHT * len(view.copied_words(text))
        for text, likelihood in zip(instructions, likelihoods, strict=True)
    ]
