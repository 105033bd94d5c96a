"""Gold values: labels of examples, or of the user's own function, as an adapter writes them."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dspy
from dspy.adapters.utils import annotation_allows_none, parse_value
from dspy.utils.exceptions import AdapterParseError

from dspy_greater.program.errors import DataError, shown
from dspy_greater.program.predictors import Predictor, label_fields
from dspy_greater.program.rendering import SURROGATE, assistant_text

#: ``label_fn(example, predictor_name)`` gives labels by output field; nothing means none.
LabelFn = Callable[[dspy.Example, str], Mapping[str, Any] | None]
#: What Python writes as text that nobody would give as an answer; of others, what gives it away:
#: pydantic's and DSPy's values, tables, functions and generators.
_NO_TEXT = (bytes, dict, set, frozenset, list, tuple)
_NO_VALUE = ("model_dump", "toDict", "columns", "__call__", "__next__")


def gold_outputs(
    predictor: Predictor, example: dspy.Example, outputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a run's outputs up to the last field that has a label, gold where there is one."""
    fields = labelled_fields(predictor, example)
    order = list(predictor.signature.output_fields)
    return {
        field: gold_value(predictor, field, example) if field in fields else outputs[field]
        for field in order[: order.index(fields[-1]) + 1]
    }


def labelled_fields(predictor: Predictor, example: dspy.Example) -> tuple[str, ...]:
    """Return the output fields of which an example has a label, in order; some or none."""
    return tuple(field for field in predictor.label_fields if field in example)


def gold_value(predictor: Predictor, field: str, example: dspy.Example) -> Any:
    """Return the label of an output field as a value of the field's type.

    A list of texts for a ``str`` field means several accepted answers, as in
    ``dspy.evaluate.answer_exact_match``: the first is the gold value. An empty text is a value;
    what is missing (see `is_missing`) is none, but for fields that may be None.
    """
    annotation = predictor.signature.output_fields[field].annotation
    given = example.get(field)
    if getattr(given, "ndim", 0) and hasattr(given, "tolist"):  # of numpy or pandas
        given = given.tolist()
    label = given
    if annotation is str and isinstance(given, (list, tuple)):
        label = next((each for each in given if not is_missing(each)), None)
    label = None if is_missing(label) else label
    if label is None and not (field in example and annotation_allows_none(annotation)):
        found = "" if given is None else f" (it is {shown(given)})"
        raise DataError(
            f"has no label {field!r}{found}, an output field of predictor {predictor.name!r}: give "
            "it one, or leave the example out"
        )
    try:
        return _text(label) if annotation is str else _typed(label, annotation)
    except (ValueError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = annotation.__name__ if isinstance(annotation, type) else annotation
        raise DataError(
            f"has the label {field}={shown(label)}, which is not a value of the output field's "
            f"type {kind} in predictor {predictor.name!r}: change the label or the type ({reason})"
        ) from error


def is_missing(value: Any) -> bool:
    """Return whether a value stands for none: None, any NaN, and NA and NaT of pandas."""
    if value is None or type(value).__name__ == "NAType":  # pandas need not be installed
        return True
    try:
        return bool(value != value)
    except Exception:  # an array's comparison has no truth value
        return False


def check_labels(
    name: str, examples: Sequence[dspy.Example], found: Sequence[Predictor], adapter: dspy.Adapter
) -> None:
    """Raise unless the adapter writes and reads back the gold values of dataset ``name``."""
    for index, example in enumerate(examples):
        for predictor in filter(lambda each: each.label_fields, found):
            try:
                _check_label(predictor, predictor.label_fields, example, adapter)
            except DataError as error:
                raise DataError(f"{name}[{index}] {error}.") from error


def given_labels(
    label_fn: LabelFn, predictor: Predictor, examples: Sequence[dspy.Example], adapter: dspy.Adapter
) -> list[dspy.Example]:
    """Return a predictor's checked labels for each example; empty where there are none."""
    outputs, given = list(predictor.signature.output_fields), []
    for index, example in enumerate(examples):
        where = f"for predictor {predictor.name!r} on trainset[{index}]"
        try:
            labels = label_fn(example, predictor.name)
        except Exception as error:
            raise DataError(
                f"label_fn raised {type(error).__name__}: {error} {where}. Let it return None for "
                "a predictor or an example that it has no label for."
            ) from error
        labels = {} if labels is None else labels
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
        given.append(dspy.Example(dict(labels)))
        try:
            for field in labels:
                _check_label(predictor, [field], given[-1], adapter)
        except DataError as error:
            raise DataError(
                f"what label_fn returned {where} {error}. Where there is no label, let it leave "
                "the field out."
            ) from error
    return given


def relabelled(predictor: Predictor, labels: Sequence[dspy.Example]) -> Predictor:
    """Return the predictor with these labels in the place of those in the examples."""
    fields = {field for each in labels for field in each}
    return replace(predictor, label_fields=label_fields(predictor.signature, fields))


def beside(example: dspy.Example, labels: dspy.Example) -> dspy.Example:
    """Return an example with other labels beside its own."""
    given = {f"{field}, by label_fn": value for field, value in labels.items()}
    return dspy.Example({**dict(example.items()), **given}).with_inputs(*example.inputs().keys())


def _check_label(
    predictor: Predictor, fields: Sequence[str], example: dspy.Example, adapter: dspy.Adapter
) -> None:
    """Raise with what goes on after the example's name unless its labels can be read back."""
    values = {field: gold_value(predictor, field, example) for field in fields}
    if not isinstance(adapter, dspy.ChatAdapter):
        return  # JSONAdapter and XMLAdapter are ChatAdapters too; others may parse with an LM.
    signature = predictor.signature
    for field in [name for name in signature.output_fields if name not in values]:
        signature = signature.delete(field)
    text = assistant_text(adapter, signature, values)
    if SURROGATE.search(text):
        raise DataError(
            f"has half a character (a lone surrogate) in the labels {shown(values)} of predictor "
            f"{predictor.name!r}, which no tokenizer can read: repair the text"
        )
    try:
        parsed = adapter.parse(signature, text)
    except (AdapterParseError, ValueError) as error:
        parsed, reason = {}, str(error)
    else:
        reason = f"it reads {parsed}"
    for field, value in values.items():
        back = parsed.get(field)
        texts = isinstance(back, str) and isinstance(value, str)
        if (back.split() != value.split()) if texts else (field not in parsed):
            raise DataError(
                f"has the label {field}={shown(value)}, an output field of predictor "
                f"{predictor.name!r}, which {type(adapter).__name__} cannot read back from its own "
                "format: remove the adapter's markup and control characters "
                f"from the label, or use another adapter ({reason[:200]})"
            )


def _text(label: Any) -> str:
    named = isinstance(label, enum.Enum) and not isinstance(label, str)
    if named or isinstance(label, _NO_TEXT) or any(hasattr(label, each) for each in _NO_VALUE):
        raise TypeError(f"a {type(label).__name__} is not a text")
    # Adapters strip what they read, so a run never has outer white space to match.
    return str(label).strip()


def _typed(label: Any, annotation: Any) -> Any:
    # parse_value looks enum members up by value or name only.
    member = isinstance(annotation, enum.EnumMeta) and isinstance(label, annotation)
    return label if member else parse_value(label, annotation)
