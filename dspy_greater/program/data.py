"""Datasets: whether they can be used, how they are split, and what texts take from examples."""

from __future__ import annotations

import inspect
import logging
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import dspy

from dspy_greater.basics.scripts import scripts_of
from dspy_greater.program.errors import DataError, shown
from dspy_greater.program.predictors import check_program

logger = logging.getLogger(__name__)

#: By predictor, the labels of examples that are not in them.
Labels = dict[str, list[dspy.Example]]
_HOW = "dspy.Example(question=..., answer=...).with_inputs('question')"
_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")  # a capital within a sentence
_WORD = re.compile(r"\w{4,}|\d+")


class Data(NamedTuple):
    """What a compile learns from; ``labels`` are those that are not in the training examples."""

    train: list[dspy.Example]
    validation: list[dspy.Example]
    labels: Labels


def check_dataset(name: str, examples: Any, program: dspy.Module) -> None:
    """Raise unless ``examples`` are examples that ``program`` can be called on."""
    check_program(program)
    if not isinstance(examples, Sequence) or isinstance(examples, (str, bytes)):
        raise DataError(
            f"{name} is a {type(examples).__name__}: give a list of dspy.Example, e.g. [{_HOW}]."
        )
    if not examples:
        raise DataError(f"{name} is empty: give at least one example, e.g. [{_HOW}].")
    for index, example in enumerate(examples):
        if fault := _fault(example, program):
            raise DataError(f"{name}[{index}] {fault}.")


def warn_of_overlap(trainset: Sequence[dspy.Example], valset: Sequence[dspy.Example]) -> None:
    """Log a warning if validation examples are training examples, too, or come several times."""
    if shared := sum(example in trainset for example in valset):
        logger.warning(
            f"{shared} of {len(valset)} validation examples are also training examples: take them "
            "out of one of the two, or the gain on them will be too good to be true."
        )
    if copies := sum(example in valset[:index] for index, example in enumerate(valset)):
        logger.warning(
            f"{copies} of {len(valset)} validation examples are copies of others in the valset: "
            "take them out, or the verdict will look surer than it is."
        )


def _fault(example: Any, program: dspy.Module) -> str | None:
    if not isinstance(example, dspy.Example) or isinstance(example, dspy.Prediction):
        return f"is a {type(example).__name__}, not a dspy.Example: write {_HOW}"
    try:
        inputs = example.inputs().toDict()
    except ValueError:
        return f"does not say which fields are inputs: call .with_inputs(...), as in {_HOW}"
    if not inputs:
        return f"has no input among its fields {sorted(example.keys())}: name them, as in {_HOW}"
    if missing := [field for field in _required_inputs(program) if field not in inputs]:
        return (
            f"has no input {missing[0]!r}, which the program needs (its inputs: {sorted(inputs)}): "
            "add the field and name it in .with_inputs(...)"
        )
    try:
        _forward(program).bind(program, **inputs)
    except TypeError as error:
        return (
            f"has the inputs {sorted(inputs)}, with which {type(program).__name__} cannot be "
            f"called ({error}): name in .with_inputs(...) the arguments of forward()"
        )
    return None


def _required_inputs(program: dspy.Module) -> list[str]:
    """Return the inputs of a program that hands them all to its one predictor."""
    predictors = program.predictors()
    kinds = [parameter.kind for parameter in _forward(program).parameters.values()]
    if len(predictors) != 1 or kinds[1:] != [inspect.Parameter.VAR_KEYWORD]:
        return []
    fields = predictors[0].signature.input_fields
    return [name for name, field in fields.items() if field.is_required()]


def _forward(program: dspy.Module) -> inspect.Signature:
    # From the class: DSPy warns when an instance's forward is looked up.
    kind = type(program)
    return inspect.signature(getattr(kind, "forward", kind.__call__))


def split(
    trainset: Sequence[dspy.Example],
    valset: Sequence[dspy.Example] | None,
    max_examples: int,
    seed: int,
) -> tuple[list[dspy.Example], list[dspy.Example]]:
    """Draw the search's examples and, without a valset, hold two fifths out to verify on."""
    shuffled = random.Random(seed).sample(list(trainset), len(trainset))
    if valset is not None:
        return shuffled[:max_examples], list(valset)
    if len(shuffled) < 2:
        raise DataError(
            "the trainset has 1 example and there is no valset, so none is left to verify "
            "a change on. Pass more examples, or valset=[...]."
        )
    held_out = max(1, round(0.4 * len(shuffled)))
    return shuffled[held_out:][:max_examples], shuffled[:held_out]


def scripts_in(program: dspy.Module, data: Data, settings: object) -> frozenset[str]:
    """Return the scripts of all that the user wrote."""
    own = [(each.signature, each.demos) for each in program.predictors()]
    return scripts_of(repr((own, data, settings)))


def excerpt(example: dspy.Example) -> dict[str, dict[str, str]]:
    """Return an example's ``inputs`` and ``labels``: by field, 300 characters of each value."""

    def beginning(value: Any) -> str:
        text = value if isinstance(value, str) else shown(value)
        return text if len(text) <= 300 else f"{text[:299]}…"

    kinds = {"inputs": example.inputs(), "labels": example.labels()}
    return {
        kind: {str(name): beginning(value) for name, value in fields.items()}
        for kind, fields in kinds.items()
    }


def shown_in(texts: Iterable[str], examples: Sequence[dspy.Example]) -> frozenset[int]:
    """Return the indices of the examples whose inputs all stand in texts; none if half of them do.

    Of short inputs that stand in any text nothing can be said.
    """
    whole = " ".join(" ".join(texts).split())
    asked = [[" ".join(str(v).split()) for v in each.inputs().values()] for each in examples]
    found = [i for i, values in enumerate(asked) if all(value in whole for value in values)]
    return frozenset(found if 2 * len(found) < len(examples) else ())


def copied_words(instruction: str, start: str, examples: Sequence[dspy.Example]) -> tuple[str, ...]:
    """Return the names, numbers and answer words of single examples in an instruction.

    What more than half of the examples share, or the start had, does not count.
    """
    counts = Counter(word for example in examples for word in _particular(example))
    rare = {word for word, count in counts.items() if 2 * count <= len(examples)}
    rare -= {word.lower() for word in re.findall(r"\w+", start)}
    found = dict.fromkeys(word.lower() for word in re.findall(r"\w+", instruction))
    return tuple(word for word in found if word in rare)


def _particular(example: dspy.Example) -> set[str]:
    """Return an example's numbers and names, and the words of its labels."""
    text = "\n".join(str(value) for value in example.toDict().values())
    labels = "\n".join(str(value) for value in example.labels().values())
    found = [*_NUMBER.findall(text), *_NAME.findall(text), *_WORD.findall(labels)]
    return {word.lower() for word in found}
