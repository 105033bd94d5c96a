"""Examples for training, validation and testing, apart from each other and seeded."""

from __future__ import annotations

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspy_greater.program import DataError
from examples.tasks.splits import divide, divide_two
from tests.support.tasks import assert_disjoint


def questions(count: int, word: str = "pears") -> list[dspy.Example]:
    return [
        dspy.Example(question=f"How many {word} are {n} {word}?", answer=str(n)).with_inputs(
            "question"
        )
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (400, [50, 100, 100]),
        (250, [50, 100, 100]),
        (249, [50, 99, 100]),
        (178, [50, 64, 64]),
        (52, [50, 1, 1]),
    ],
)
def test_a_small_task_halves_what_training_leaves(count: int, sizes: list[int]) -> None:
    splits = divide("fruit", questions(count), seed=0)
    assert [len(split) for split in splits] == sizes
    assert_disjoint(splits)


@given(seed=st.integers(0, 10**6), count=st.integers(52, 300))
@settings(max_examples=25, deadline=None)
def test_splits_are_disjoint_and_seeded(seed: int, count: int) -> None:
    pool = questions(count)
    splits = divide("fruit", pool, seed)
    assert_disjoint(splits)
    assert divide("fruit", pool, seed) == splits
    assert divide("fruit", pool, seed + 1) != splits
    assert divide("nuts", pool, seed) != splits


def test_a_repeated_question_is_asked_once() -> None:
    pool = questions(60)
    shouted = dspy.Example(question=f"  {pool[7].question.upper()}\n", answer="7")
    splits = divide("fruit", [*pool, *pool[:5], shouted.with_inputs("question")], seed=0)
    assert [len(split) for split in splits] == [50, 5, 5]
    assert_disjoint(splits)


def test_a_question_with_two_answers_has_none() -> None:
    pool = questions(60)
    torn = dspy.Example(question=pool[7].question, answer="8").with_inputs("question")
    splits = divide("fruit", [*pool, torn], seed=0)
    assert [len(split) for split in splits] == [50, 4, 5]
    assert pool[7].question not in {example.question for split in splits for example in split}


def test_test_questions_come_from_their_own_file_alone() -> None:
    held_out = questions(120, "figs")
    splits = divide_two("fruit", [*questions(200), *held_out[:50]], held_out, seed=0)
    assert [len(split) for split in splits] == [50, 100, 100]
    assert_disjoint(splits)
    assert all("figs" in example.question for example in splits.test)
    assert not any("figs" in e.question for e in [*splits.train, *splits.validation])


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_training_and_validation_share_no_story(seed: int) -> None:
    def story(example: dspy.Example) -> str:
        return str(int(example.answer) // 7)

    splits = divide_two("fruit", questions(300), questions(100, "figs"), seed, story)
    assert [len(split) for split in splits] == [50, 100, 100]
    assert not set(map(story, splits.train)) & set(map(story, splits.validation))


@pytest.mark.parametrize("count", [0, 40, 51])
def test_too_few_questions_are_an_error_that_says_so(count: int) -> None:
    with pytest.raises(DataError, match=f"fruit has {count} distinct questions, too few"):
        divide("fruit", questions(count), seed=0)
