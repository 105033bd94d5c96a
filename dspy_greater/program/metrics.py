"""The user's metric, called the way DSPy calls it."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable
from typing import Any

import dspy

from dspy_greater.program.errors import MetricError, ScaleError, shown

_EXPECTED = (
    "write metric(example, prediction) or metric(example, prediction, trace=None), or a "
    "GEPA metric(gold, pred, trace, pred_name, pred_trace)"
)


class Metric:
    """A checked metric, called with an example and a prediction; what else it must get is None."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = str(getattr(function, "__name__", None) or type(function).__name__)
        self._extra = (None,) * (_arity(function, self.name) - 2)

    def score(self, example: dspy.Example, prediction: Any) -> float:
        """Score one prediction."""
        returned = self.function(example, prediction, *self._extra)
        value: Any = returned
        if isinstance(returned, (dspy.Example, dict)):
            value = returned.get("score")
        if hasattr(value, "item") and not isinstance(value, dspy.Example):
            with contextlib.suppress(TypeError, ValueError, RuntimeError):
                value = value.item()  # A scalar of numpy or torch.
        number = float(value) if isinstance(value, (bool, int, float)) else math.nan
        if not math.isfinite(number):
            raise MetricError(
                f"The metric {self.name} returned {shown(returned)} for the example "
                f"{shown(example)}: it must return a finite number, a bool, or "
                "dspy.Prediction(score=..., feedback=...)."
            )
        if not 0 <= number <= 1:
            raise ScaleError(
                f"The metric {self.name} returned {number} for the example {shown(example)}: "
                "scores go from 0 (wrong) to 1 (perfect), so divide by the best possible score."
            )
        return number


def _arity(function: Any, name: str) -> int:
    if not callable(function):
        raise MetricError(
            f"The metric is a {type(function).__name__}, not a function: {_EXPECTED}."
        )
    if inspect.isclass(function):
        raise MetricError(f"The metric {name} is a class: create it first, {name}(...).")
    if any(map(inspect.iscoroutinefunction, (function, type(function).__call__))):
        raise MetricError(f"The metric {name} is asynchronous: write an ordinary function.")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return 2  # A builtin that does not tell.
    # The fewest that fit: a third argument with a default of its own may not be a trace.
    for arity in (2, 3, 5):
        with contextlib.suppress(TypeError):
            signature.bind(*[None] * arity)
            return arity
    raise MetricError(f"The metric {name}{signature} has the wrong arguments: {_EXPECTED}.")
