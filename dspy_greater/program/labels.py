"""Gold values: from an example's labels to what the adapter would write."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import dspy
from dspy.adapters.utils import annotation_allows_none, parse_value
from dspy.utils.exceptions import AdapterParseError

from dspy_greater.program.errors import DataError, shown
from dspy_greater.program.predictors import Predictor
from dspy_greater.program.rendering import assistant_text


def gold_outputs(
    predictor: Predictor, example: dspy.Example, outputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a run's own outputs with the gold values in place of its answers.

    Args:
        predictor: The predictor.
        example: Where the labels are.
        outputs: What the run put out: the reasoning before a label is taken from here.

    Returns:
        The values of all output fields up to the last one that has a label, in order.
    """
    values: dict[str, Any] = {}
    fields = labelled_fields(predictor, example)
    for field in predictor.signature.output_fields:
        labelled = field in fields
        values[field] = gold_value(predictor, field, example) if labelled else outputs[field]
        if field == fields[-1]:
            break
    return values


def labelled_fields(predictor: Predictor, example: dspy.Example) -> tuple[str, ...]:
    """Return the output fields of which an example has a label, in order; some or none."""
    return tuple(field for field in predictor.label_fields if field in example)


def gold_value(predictor: Predictor, field: str, example: dspy.Example) -> Any:
    """Return the label of an output field as a value of the field's type.

    A list of texts for a ``str`` field means several accepted answers, as in
    ``dspy.evaluate.answer_exact_match``: the first is the gold value.

    Raises:
        DataError: The label is missing, empty, or not of the field's type.
    """
    annotation = predictor.signature.output_fields[field].annotation
    label = example.get(field)
    if label is None and not (field in example and annotation_allows_none(annotation)):
        raise DataError(
            f"has no label {field!r}, an output field of predictor {predictor.name!r}: give it "
            "one, or leave the example out"
        )
    try:
        value = _text(label) if annotation is str else _typed(label, annotation)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"has the label {field}={shown(label)}, which is not a value of the output field's "
            f"type {_type_name(annotation)} in predictor {predictor.name!r}: change the label or "
            f"the type ({reason})"
        ) from error
    if value == "":
        raise DataError(
            f"has an empty label {field!r}, an output field of predictor {predictor.name!r}: give "
            "it a text, or leave the example out"
        )
    return value


def check_labels(
    name: str,
    examples: Sequence[dspy.Example],
    found: Sequence[Predictor],
    adapter: dspy.Adapter,
) -> None:
    """Raise unless every gold value can be written and read back by the adapter.

    Args:
        name: What to call the dataset in messages, e.g. ``"trainset"``.
        examples: Examples that passed ``check_dataset``.
        found: The predictors; those without labels are passed over.
        adapter: The program's adapter.

    Raises:
        DataError: Names the first example at fault and what to do.
    """
    labelled = [predictor for predictor in found if predictor.label_fields]
    for index, example in enumerate(examples):
        for predictor in labelled:
            try:
                check_label(predictor, predictor.label_fields, example, adapter)
            except DataError as error:
                raise DataError(f"{name}[{index}] {error}.") from error


def check_label(
    predictor: Predictor, fields: Sequence[str], example: dspy.Example, adapter: dspy.Adapter
) -> None:
    """Raise unless an example's labels can be written and read back by the adapter.

    Raises:
        DataError: Its text goes on after the example's name.
    """
    values = {field: gold_value(predictor, field, example) for field in fields}
    _check_round_trip(adapter, predictor, values)


def _text(label: Any) -> str:
    if isinstance(label, (list, tuple)):
        return _text(label[0]) if label else ""
    if isinstance(label, (dict, set)):
        raise TypeError(f"a {type(label).__name__} is not a text")
    # Adapters strip what they read, so a run never has outer white space to match.
    return str(label).strip()


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _typed(label: Any, annotation: Any) -> Any:
    # parse_value looks enum members up by value or name only.
    member = isinstance(annotation, enum.EnumMeta) and isinstance(label, annotation)
    return label if member else parse_value(label, annotation)


def _check_round_trip(
    adapter: dspy.Adapter, predictor: Predictor, values: Mapping[str, Any]
) -> None:
    if not isinstance(adapter, dspy.ChatAdapter):
        return  # JSONAdapter and XMLAdapter are ChatAdapters too; others may parse with an LM.
    signature = predictor.signature
    for field in [name for name in signature.output_fields if name not in values]:
        signature = signature.delete(field)
    try:
        parsed = adapter.parse(signature, assistant_text(adapter, signature, values))
    except (AdapterParseError, ValueError) as error:
        parsed, reason = {}, str(error)
    else:
        reason = f"it reads {parsed}"
    for field, value in values.items():
        back = parsed.get(field)
        same = back.split() == value.split() if _texts(back, value) else field in parsed
        if not same:
            raise DataError(
                f"has the label {field}={shown(value)}, an output field of predictor "
                f"{predictor.name!r}, which {type(adapter).__name__} cannot read back from its own "
                "format: remove the adapter's markup and control characters "
                f"from the label, or use another adapter ({reason[:200]})"
            )


def _texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)
