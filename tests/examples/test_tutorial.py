"""The tutorial runs from the first cell to the last and says what it promises."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

TUTORIAL = Path(__file__).resolve().parents[2] / "examples" / "tutorial.py"


@pytest.mark.slow
def test_the_tutorial_runs_and_its_program_is_better(capsys: pytest.CaptureFixture[str]) -> None:
    state = runpy.run_path(str(TUTORIAL))
    said = capsys.readouterr().out
    assert state["results"].improved
    assert state["after"] > state["before"]
    assert "step 1: validation" in said
    assert state["outcome"].after in said
    assert state["page"].read_text().startswith("<!doctype html>")
    assert state["again"].signature.instructions == state["outcome"].after
    assert state["program"].signature.instructions == state["outcome"].before
    assert state["evaluate"](state["again"]).score == state["after"]
