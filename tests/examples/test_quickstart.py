"""The quickstart as a new user runs it, and the table made from its runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dspy_greater.model import MissingModelError
from examples.quickstart import main
from examples.quickstart_table import table

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "model",
    "task",
    "seed",
    "instruction_before",
    "instruction_after",
    "score_before",
    "score_after",
    "heldout",
    "rollouts",
    "tokens",
    "seconds",
}


def quickstart(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / "quickstart.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_quickstart_prints_and_writes_what_it_did(tmp_path: Path) -> None:
    few = ("--steps", "1", "--task", "letters", "--seed", "1")
    done = quickstart(*few, "--json", "out.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert result.keys() == KEYS
    assert result["seed"] == 1
    assert result["rollouts"] > 0
    for shown in ("before", "after", "held-out questions", "rollouts", "tokens"):
        assert shown in done.stdout
    assert repr(result["instruction_after"]) in done.stdout


def test_a_model_that_does_not_exist_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--model", "./no-such-folder"])
    with pytest.raises(MissingModelError, match=r"\A.*no-such-folder.*\Z"):  # on one line
        main()


def test_runs_are_tabled_by_task() -> None:
    run = {"task": "arithmetic", "score_before": 0.2, "seconds": 10.0, "rollouts": 100}
    lines = table([{**run, "score_after": after} for after in (0.5, 0.7)]).splitlines()
    assert lines[2] == "| arithmetic | 20.0 | 60.0 | +40.0 ± 19.6 | +30.0 | 10 | 100 |"
    assert lines[3].startswith("| **all** | 20.0 | 60.0 |")


@pytest.mark.parametrize("task", ["no-such-task"])
def test_an_unknown_task_lists_the_known_ones(
    task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["quickstart.py", "--task", task])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "arithmetic" in capsys.readouterr().err
