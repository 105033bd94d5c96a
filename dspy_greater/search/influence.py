"""Which tokens of an instruction the gold answers hang on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from dspy_greater.search.protocols import View


def gradient_norms(
    view: View, instruction: str, runs: Sequence[Run], examples: Sequence[int]
) -> dict[int, list[float]]:
    """Return, by example, the norm of the gold answer's gradient at each instruction token.

    The loss is the gold answer's after the program's own reasoning: it has a gradient whether the
    answer was right or wrong. An example that cannot be rendered, or whose gradient is not finite,
    is left out.

    Args:
        view: The predictor.
        instruction: The text that it had in the runs.
        runs: One for each example.
        examples: Indices of training examples.

    Returns:
        ``[tokens]`` for each example, with four digits: a record to look at, which the rounding
        of another batch does not change.
    """
    answers = zip(examples, view.answers(instruction, runs, examples), strict=True)
    items = {example: item for example, item in answers if item is not None}
    gradients = view.model.gradients(list(items.values()))
    norms = {}
    for example, gradient in zip(items, gradients, strict=True):
        row = gradient.positions.norm(dim=-1).tolist()
        if all(map(math.isfinite, [gradient.loss, *row])):
            norms[example] = [float(f"{norm:.4g}") for norm in row]
    return norms
