"""Demos that a program can be shown: its own successes, and labelled examples; as text."""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import dspy

from dspy_greater.program.labels import gold_value, labelled_fields
from dspy_greater.program.predictors import Predictor, call_of
from dspy_greater.program.runs import Run

#: By predictor, the values of one call of it by field.
Shown = dict[str, dict[str, Any]]
_T = TypeVar("_T")
#: How many examples a set of demos shows, by turns: one does what four do, for fewer tokens.
SIZES = (1, 1, 2)


def shown_by(
    predictors: Sequence[Predictor],
    examples: Sequence[dspy.Example],
    labels: Mapping[str, Sequence[dspy.Example]],
    runs: Sequence[Run],
) -> dict[int, Shown]:
    """Return what each of some examples can show, by index, but for those that show nothing.

    What the program did there where it was all right, as few-shot optimizers of DSPy have it, else
    its labels behind what it wrote, such as its reasoning: they show the form. No demo leaves a
    field out, and none holds a value that JSON cannot keep.

    Args:
        predictors: Those that get demos.
        examples: The training examples.
        labels: By predictor, the labels of each example where they are not in it.
        runs: The program's run on each of them.
    """
    found = {}
    for index, (example, run) in enumerate(zip(examples, runs, strict=True)):
        its = {name: given[index] for name, given in labels.items()}
        shown = _done(predictors, run) if run.score >= 1 else _told(predictors, example, its, run)
        if shown and _kept(shown) == shown:
            found[index] = shown
    return found


def drawn(
    items: Sequence[_T], sizes: Sequence[int], count: int, rng: random.Random
) -> list[list[_T]]:
    """Return samples of items, ``count`` of these sizes by turns, without those too large."""
    turns = itertools.islice(itertools.cycle(sizes), count)
    return [rng.sample(items, size) for size in turns if size <= len(items)]


def demo_sets(shown: Mapping[int, Shown], count: int, rng: random.Random) -> list[str]:
    """Return so many sets of demos at most, each once, as text: what is shown, by example."""
    sets = drawn(list(shown), SIZES, count, rng)
    return list(dict.fromkeys(json.dumps({i: shown[i] for i in each}) for each in sets))


def examples_of(text: str) -> set[int]:
    """Return the indices of the examples that a set of demos shows."""
    return {int(index) for index in json.loads(text)} if text else set()


def demos_of(text: str, predictor: str) -> list[dspy.Example]:
    """Return a predictor's demos in a set, marked as DSPy marks what it did not get from users."""
    return [
        dspy.Example(augmented=True, **shown[predictor])
        for shown in json.loads(text).values()
        if predictor in shown
    ]


def with_demos(predictor: Predictor, text: str) -> Predictor:
    """Return a predictor as it is in a program with these demos; empty for its own."""
    if not text:
        return predictor
    module = copy.copy(predictor.module)
    module.demos = demos_of(text, predictor.name)
    return replace(predictor, module=module)


def _done(predictors: Sequence[Predictor], run: Run) -> Shown:
    """Return the last call of each predictor in a run."""
    last = {p.name: run.calls[p.name][-1] for p in predictors if run.calls.get(p.name)}
    return {name: {**call.inputs, **call.outputs} for name, call in last.items()}


def _told(
    predictors: Sequence[Predictor],
    example: dspy.Example,
    labels: Mapping[str, dspy.Example],
    run: Run,
) -> Shown:
    """Return each predictor's labels behind what it did; nothing unless all have some, and all."""
    found, done = Shown(), _done(predictors, run)
    for predictor in predictors:
        inputs, its = call_of(predictor, example).inputs, labels.get(predictor.name, example)
        right = {f: gold_value(predictor, f, its) for f in labelled_fields(predictor, its)}
        told = {**done.get(predictor.name, {}), **inputs, **right}
        if not right or not told.keys() >= predictor.signature.fields.keys():
            return {}
        found[predictor.name] = {name: told[name] for name in predictor.signature.fields}
    return found


def _kept(shown: Shown) -> Any:
    """Return what JSON makes of it."""
    try:
        return json.loads(json.dumps(shown))
    except (TypeError, ValueError):
        return None
