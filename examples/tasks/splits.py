"""Seeded, disjoint splits of a task's questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import dspy

from dspy_greater.program import DataError

# Of the paper. A task with fewer distinct questions halves what the training examples leave: of
# BIG-Bench Hard penguins_in_a_table, causal_judgement, snarks and sports_understanding.
TRAIN, VALIDATION, TEST = 50, 100, 100

Story = Callable[[dspy.Example], str]


class Splits(NamedTuple):
    """Examples to learn from, to choose by and to judge on; no question is in two of them."""

    train: list[dspy.Example]
    validation: list[dspy.Example]
    test: list[dspy.Example]


def question_of(example: dspy.Example) -> str:
    """Return the text of all inputs, regardless of case and spacing."""
    return " ".join(" ".join(map(str, example.inputs().values())).split()).casefold()


def divide(name: str, pool: Sequence[dspy.Example], seed: int) -> Splits:
    """Split a task's only file."""
    pool, rng = distinct(pool), random.Random(f"{name}/{seed}")
    rest = max(2, len(pool) - TRAIN)
    validation = min(VALIDATION, rest // 2)
    return Splits(*_draw(name, pool, (TRAIN, validation, min(TEST, rest - validation)), rng))


def divide_two(
    name: str,
    pool: Sequence[dspy.Example],
    held_out: Sequence[dspy.Example],
    seed: int,
    story: Story = question_of,
) -> Splits:
    """Split a task that is published in two files, the second of them for the test.

    Args:
        name: The task.
        pool: What to learn from and to choose by.
        held_out: What to judge on.
        seed: The seed; the same arguments give the same splits.
        story: Names what several questions have in common; the training and the validation
            examples share no story.
    """
    held_out, rng = distinct(held_out), random.Random(f"{name}/{seed}")
    tested = set(map(question_of, held_out))
    pool = [example for example in distinct(pool) if question_of(example) not in tested]
    train, validation = _draw(name, pool, (TRAIN, VALIDATION), rng, story)
    (test,) = _draw(name, held_out, (TEST,), rng)
    return Splits(train, validation, test)


def distinct(examples: Sequence[dspy.Example]) -> list[dspy.Example]:
    """Return each question once, and none to which two different answers were published."""
    published: dict[str, dict[str, dspy.Example]] = {}
    for example in examples:
        answer = str(sorted(example.labels().items()))
        published.setdefault(question_of(example), {})[answer] = example
    candidates = [list(answers.values()) for answers in published.values()]
    return [each[0] for each in candidates if len(each) == 1]


def _draw(
    name: str,
    examples: Sequence[dspy.Example],
    sizes: Sequence[int],
    rng: random.Random,
    story: Story = question_of,
) -> list[list[dspy.Example]]:
    """Draw whole stories for one split after the other; what is left of its last one is dropped."""
    stories: dict[str, list[dspy.Example]] = {}
    for example in examples:
        stories.setdefault(story(example), []).append(example)
    order = list(stories.values())
    rng.shuffle(order)
    splits: list[list[dspy.Example]] = []
    for size in sizes:
        split: list[dspy.Example] = []
        while len(split) < size:
            if not order:
                raise DataError(
                    f"{name} has {len(examples)} distinct questions, too few to draw "
                    f"{' and '.join(map(str, sizes))} from: use the whole published file."
                )
            split += order.pop()[: size - len(split)]
        splits.append(split)
    return splits
