"""The example of demos first and instructions after: four programs, told apart honestly."""

from __future__ import annotations

import re
import sys

import pytest

from examples import few_shot_then_instructions as example


@pytest.mark.slow
def test_four_programs_are_scored_on_the_same_questions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in {"TRAIN": 10, "VALIDATION": 12, "HELD_OUT": 30}.items():
        monkeypatch.setattr(example, name, count)
    monkeypatch.setattr(sys, "argv", ["few_shot_then_instructions.py", "--max-tokens", "20000"])
    example.main()
    said = capsys.readouterr().out
    assert "letters, 30 held-out questions" in said
    rows = re.findall(r"([\d.]+)%  (.+?)  +(\d) demos, (.+)", said)
    assert [(name, demos) for _, name, demos, _ in rows] == [
        ("plain", "0"),
        ("demos", "1"),
        ("demos, then instruction", "1"),
        ("instruction alone", "0"),
    ]
    score = {name: float(percent) for percent, name, _, _ in rows}
    words = {name: text for _, name, _, text in rows}
    assert words["plain"] == words["demos"] != words["instruction alone"]
    assert score["instruction alone"] > score["plain"] + 30
    assert "with demos: self:" in said
