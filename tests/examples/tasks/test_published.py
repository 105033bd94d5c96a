"""The published data, where they lie beside the checkout or are named."""

from __future__ import annotations

import os
from pathlib import Path

import dspy
import pytest

from examples.tasks import NAMES, PUBLISHED, load, sources
from examples.tasks.__main__ import table
from examples.tasks.everyday import CATEGORIES, INTENTS
from tests.support.tasks import assert_disjoint


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> Path:
    """The folder of the published data: DSPY_GREATER_DATA, or data/ among the shared assets."""
    named = os.environ.get(sources.FOLDER_VARIABLE)
    folder = Path(named) if named else request.getfixturevalue("shared") / "data"
    if not folder.is_dir():
        pytest.skip(f"no published data at {folder} (set {sources.FOLDER_VARIABLE})")
    return folder


def all_examples(name: str, data: Path) -> list[dspy.Example]:
    if name == "gsm8k":
        return sources.gsm8k("train", data) + sources.gsm8k("test", data)
    if name == "folio":
        return sources.folio("train", data) + sources.folio("validation", data)
    if name == "banking77":
        return [
            example
            for split in ("train", "test")
            for example in sources.banking77(split, INTENTS, data)
        ]
    if name == "scone":
        return sources.scone("train", data) + sources.scone("test", data)
    return sources.bbh(name, data)


COUNTS = {"penguins_in_a_table": 146, "causal_judgement": 187, "snarks": 178}
COUNTS |= {"gsm8k": 7473 + 1319, "folio": 1004 + 204, "banking77": 2187, "scone": 7212}
ANSWERED = [name for name in PUBLISHED if name != "facility"]
SIZES = {"facility": [50, 75, 75], "penguins_in_a_table": [50, 48, 48], "snarks": [50, 64, 64]}
# Two questions asked twice; in the second task with two answers each.
SIZES |= {"sports_understanding": [50, 99, 99], "causal_judgement": [50, 66, 67]}


@pytest.mark.parametrize("name", ANSWERED)
def test_every_published_answer_is_right_for_its_own_question_alone(
    name: str, published: Path
) -> None:
    task, examples = load(name, published), all_examples(name, published)
    assert len(examples) == COUNTS.get(name, 250)
    answers = sorted({example.answer for example in examples})
    for index, example in enumerate(examples):
        assert task.metric(example, dspy.Prediction(answer=example.answer))
        another = next(a for a in answers[index % len(answers) :] + answers if a != example.answer)
        assert not task.metric(example, dspy.Prediction(answer=another))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tasks_split_as_the_paper_does(name: str, published: Path) -> None:
    task = load(name, published)
    splits = task.splits(1)
    assert [len(split) for split in splits] == SIZES.get(name, [50, 100, 100])
    assert_disjoint(splits)
    assert splits == task.splits(1) != task.splits(2)


def test_every_e_mail_s_published_labels_score_one(published: Path) -> None:
    task, examples = load("facility", published), sources.facility(published)
    assert len(examples) == 200
    assert {c for example in examples for c in example.categories} == set(CATEGORIES)
    for example in examples:
        assert task.metric(example, dspy.Prediction(**example.labels())) == 1


def test_banking77_keeps_to_twelve_intents(published: Path) -> None:
    assert {each.answer for each in sources.banking77("test", INTENTS, published)} == set(INTENTS)


def test_the_table_lists_every_task(published: Path) -> None:
    lines = table(published).splitlines()
    assert len(lines) == 2 + len(NAMES)
    assert "| snarks | option | 50 | 64 | 64 |" in lines
    assert "| sorting | exact text | 50 | 100 | 100 |" in lines
