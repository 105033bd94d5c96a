"""Labels that the user's own function gives, where the examples have none or others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy

from dspy_greater.program.errors import DataError, shown
from dspy_greater.program.labels import check_label
from dspy_greater.program.predictors import Predictor, label_fields

#: ``label_fn(example, predictor_name)`` gives labels by output field; nothing means none.
LabelFn = Callable[[dspy.Example, str], Mapping[str, Any] | None]


def given_labels(
    label_fn: LabelFn, predictor: Predictor, examples: Sequence[dspy.Example], adapter: dspy.Adapter
) -> list[dspy.Example]:
    """Return a predictor's labels for each training example, asked for once and checked.

    Args:
        label_fn: The user's function.
        predictor: The predictor.
        examples: The trainset.
        adapter: The program's adapter.

    Returns:
        One ``dspy.Example`` of labels for each example; empty where the function has none.

    Raises:
        DataError: Names the predictor, the field and the example, and what to do.
    """
    return [
        _labels(label_fn, predictor, example, adapter, f"trainset[{index}]")
        for index, example in enumerate(examples)
    ]


def relabelled(predictor: Predictor, labels: Sequence[dspy.Example]) -> Predictor:
    """Return the predictor with these labels in the place of those in the examples."""
    fields = {field for each in labels for field in each}
    return replace(predictor, label_fields=label_fields(predictor.signature, fields))


def beside(example: dspy.Example, labels: dspy.Example) -> dspy.Example:
    """Return an example with other labels beside its own."""
    given = {f"{field}, by label_fn": value for field, value in labels.items()}
    return dspy.Example({**dict(example.items()), **given}).with_inputs(*example.inputs().keys())


def _labels(
    label_fn: LabelFn, predictor: Predictor, example: dspy.Example, adapter: dspy.Adapter, name: str
) -> dspy.Example:
    where = f"for predictor {predictor.name!r} on {name}"
    try:
        labels = label_fn(example, predictor.name)
    except Exception as error:
        raise DataError(
            f"label_fn raised {type(error).__name__}: {error} {where}. Let it return None for a "
            "predictor or an example that it has no label for."
        ) from error
    if labels is None:
        return dspy.Example()
    outputs = list(predictor.signature.output_fields)
    if not isinstance(labels, Mapping):
        raise DataError(
            f"label_fn returned {shown(labels)} {where}, not a dict: let it return values by "
            f"output field, of {outputs}, or None where it has no label."
        )
    if unknown := [field for field in labels if field not in outputs]:
        raise DataError(
            f"label_fn gave a label to the field {unknown[0]!r} {where}, which is none of the "
            f"predictor's output fields: name one of {outputs}."
        )
    given = dspy.Example(dict(labels))
    for field in labels:
        try:
            check_label(predictor, [field], given, adapter)
        except DataError as error:
            raise DataError(
                f"what label_fn returned {where} {error}. Where there is no label, let it leave "
                "the field out."
            ) from error
    return given
