"""Words that an instruction has taken from single examples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import dspy

_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")  # a capital within a sentence
_WORD = re.compile(r"\w{4,}|\d+")


def copied_words(instruction: str, start: str, examples: Sequence[dspy.Example]) -> tuple[str, ...]:
    """Return the names, numbers and answer words of single examples in an instruction.

    What more than half of the examples share, or the start had, does not count.
    """
    shown = Counter(word for example in examples for word in _particular(example))
    rare = {word for word, count in shown.items() if 2 * count <= len(examples)}
    kept = set(_lower(re.findall(r"\w+", start)))
    found = dict.fromkeys(_lower(re.findall(r"\w+", instruction)))
    return tuple(word for word in found if word in rare and word not in kept)


def _particular(example: dspy.Example) -> set[str]:
    """Return an example's numbers and names, and the words of its labels."""
    text = "\n".join(str(value) for value in example.toDict().values())
    labels = "\n".join(str(value) for value in example.labels().values())
    found = [*_NUMBER.findall(text), *_NAME.findall(text), *_WORD.findall(labels)]
    return set(_lower(found))


def _lower(words: Iterable[str]) -> list[str]:
    return [word.lower() for word in words]
