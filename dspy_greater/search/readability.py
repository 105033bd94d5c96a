"""How an instruction reads: its length, how likely the model finds it, and what it copied."""

from __future__ import annotations

from collections.abc import Sequence

from dspy_greater.search.view import PredictorView

#: Nats per token that one token of length, and one copied word, weigh as much as.
LENGTH_WEIGHT = 0.02
COPY_WEIGHT = 1.0


def readability(
    view: PredictorView, instructions: Sequence[str], examples: Sequence[int]
) -> list[float]:
    """Rate how instructions read, higher is better.

    The mean log-probability per token after the examples' inputs, less a little for length and more
    for words copied from single training examples, which are of no use on other questions.
    """
    items = [item for text in instructions for item in view.proposals(text, examples)]
    log_probs = iter(view.model.log_probs(items))
    return [
        sum(float(next(log_probs).mean()) for _ in examples) / len(examples)
        - LENGTH_WEIGHT * len(view.tokens(text))
        - COPY_WEIGHT * len(view.copied_words(text))
        for text in instructions
    ]
