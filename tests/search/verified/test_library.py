"""Plain instructions that are made from the task."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.search.verified.library import (
    FAMILIES,
    MOST_FAMILIES,
    closed,
    library,
)

labels = st.lists(st.text(max_size=80), max_size=60)


def test_each_family_adds_a_sentence_to_the_users_instruction() -> None:
    found = library("Answer the question", "answer", [])
    assert found.keys() == {*FAMILIES, "expert"}
    assert found["terse"].startswith("Answer the question. Write `answer` alone")
    assert found["expert"].endswith("Answer the question.")


def test_few_labels_are_listed_with_their_shares() -> None:
    found = library("Sort it.", "kind", ["spam", "ham", "ham", "spam"])
    assert found["labels"] == "Sort it. `kind` is exactly one of: ham, spam."
    assert found["shares"].endswith("`kind` is which: ham 50 %, spam 50 %.")
    assert "form" not in found


def test_of_many_labels_the_form_of_some_is_shown() -> None:
    found = library("Add.", "total", ["12", "7", "30"])
    assert found["form"] == "Add. `total` has a form like these: 7, 12, 30."
    assert "labels" not in found


def test_labels_are_all_there_are_only_where_none_was_seen_once() -> None:
    assert closed(["yes", "no"] * 10) == ["no", "yes"]
    assert closed([*["yes", "no"] * 5, "maybe"]) == []  # another one may come
    assert closed(["1", "2"] * 10) == []  # numbers go on
    assert closed(["a" * 61, "b"] * 10) == []
    assert closed([f"label {index}" for index in range(21)] * 2) == []
    assert closed([]) == []


@given(st.text(min_size=1), labels)
def test_every_label_may_stand_in_an_instruction(field: str, given_labels: list[str]) -> None:
    found = library("Do {it}.", field, given_labels)
    assert len(found) <= MOST_FAMILIES
    assert all("Do {it}." in text for text in found.values())


def test_it_is_the_same_in_every_process() -> None:
    code = (
        "from dspy_greater.search.verified.library import library;"
        "print(library('Add.', 'total', [str(n) for n in range(9)]))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(texts) == 1


def test_a_sentence_comes_once() -> None:
    first = library("Answer.", "answer", ["yes", "no"] * 9)
    second = library(first["labels"], "answer", ["yes", "no"] * 9)
    assert set(second) == set(first) - {"labels"}
    assert second["careful"].count("exactly one of") == 1
    assert "expert" not in library(first["expert"], "answer", [])
