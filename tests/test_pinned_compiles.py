"""Small compiles of the shipped model end as they did, to the letter.

A change that is meant to change what the search does writes ``tests/pinned_compiles.json`` anew,
by ``python -m tests.support.pinned_compiles``, and says so.
"""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest

from tests.support.marks import mostly_slow
from tests.support.pinned_compiles import CASES, FILE, run, small_lm


@pytest.fixture(scope="module")
def lm() -> dspy.LM:
    return small_lm()


@pytest.fixture(scope="module")
def pinned() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def test_every_case_is_pinned(pinned: dict[str, Any]) -> None:
    assert pinned.keys() == CASES.keys()


@pytest.mark.parametrize(
    "name", mostly_slow(CASES, "verified letters", "paper letters", "runs bounded")
)
def test_it_ends_to_the_letter_as_it_did(name: str, lm: dspy.LM, pinned: dict[str, Any]) -> None:
    assert run(name, lm) == pinned[name]
