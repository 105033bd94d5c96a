"""Examples that are too long for the models that are to read them: left out, and counted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import dspy

from dspy_greater.lm import white_box
from dspy_greater.model import ContextError
from dspy_greater.program import Predictor, current_adapter
from dspy_greater.running.lms import LMs, is_local
from dspy_greater.search import PredictorView

logger = logging.getLogger(__name__)


def fitting(
    predictors: Sequence[Predictor],
    train: Sequence[dspy.Example],
    validation: Sequence[dspy.Example],
    lms: LMs,
) -> tuple[list[int], list[int]]:
    """Return the indices of the examples that fit, as far as is known before any run.

    The white box reads training examples; validation examples what verifies, if it is local.

    Raises:
        ContextError: If an instruction leaves no room by itself, or more than half of a split.
        InstructionError: If an instruction cannot be replaced.
        RenderingError: If an example cannot be shown to a model.
    """
    adapter, faults, verified = current_adapter(), dict[int, str](), dict[int, str]()
    for predictor in predictors:
        view = PredictorView(predictor, train, white_box(lms.white_box), adapter, list)
        view.check()
        faults |= view.too_long()
        if is_local(lm := lms.target.lms[predictor.name] if lms.target else lms.white_box):
            verified |= PredictorView(
                predictor, validation, white_box(lm), adapter, list
            ).too_long()
    return _kept("training", len(train), faults), _kept("validation", len(validation), verified)


def _kept(split: str, count: int, faults: Mapping[int, str]) -> list[int]:
    """Return the indices of the examples without a fault, and say how many have one."""
    told = f"{len(faults)} of {count} {split} examples are too long"
    first = next(iter(faults.values()), "")
    if 2 * len(faults) > count:
        raise ContextError(
            f"{told}: {first}. Use shorter inputs, fewer demos, or a model with a longer context."
        )
    if faults:
        logger.warning("%s and left out: %s", told, first)
    return [index for index in range(count) if index not in faults]
