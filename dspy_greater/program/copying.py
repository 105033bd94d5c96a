"""Words that an instruction has taken from single examples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import dspy

#: A word in more than this share of the examples belongs to the task, not to a question.
COMMON = 0.5

_NUMBER = re.compile(r"\d+")
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z]\w+")  # a capital within a sentence
_WORD = re.compile(r"\w{4,}|\d+")


def copied_words(instruction: str, start: str, examples: Sequence[dspy.Example]) -> tuple[str, ...]:
    """Return the names, numbers and answer words of single examples in an instruction.

    They help on these examples at most. Those that most examples share, and those that the
    instruction had at the start, do not count.

    Args:
        instruction: The text.
        start: The instruction that the user brought.
        examples: The training examples; all their fields count.
    """
    shown = Counter(word for example in examples for word in _particular(example))
    rare = {word for word, count in shown.items() if count <= COMMON * len(examples)}
    kept = set(_lower(re.findall(r"\w+", start)))
    found = dict.fromkeys(_lower(re.findall(r"\w+", instruction)))
    return tuple(word for word in found if word in rare and word not in kept)


def _particular(example: dspy.Example) -> set[str]:
    """Return an example's numbers and names, and the words of its labels."""
    texts = [str(value) for value in example.toDict().values()]
    names = {
        word for text in texts for pattern in (_NUMBER, _NAME) for word in pattern.findall(text)
    }
    labels = [word for value in example.labels().values() for word in _WORD.findall(str(value))]
    return set(_lower([*names, *labels]))


def _lower(words: Iterable[str]) -> list[str]:
    return [word.lower() for word in words]
