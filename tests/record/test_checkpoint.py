"""The folder of a run: nothing half written, nothing mixed up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dspy
import pytest

from dspy_greater.record import Checkpoint, CheckpointError, fingerprint

IDENTITY = {"config": "a", "trainset": "b"}


def saved(folder: Path, steps: int = 2) -> None:
    checkpoint = Checkpoint(folder, IDENTITY)
    for step in range(1, steps + 1):
        checkpoint.save({"step": step}, {"event": step})
    checkpoint.close()


def state_of(folder: Path) -> object:
    checkpoint = Checkpoint(folder, IDENTITY)
    checkpoint.close()
    return checkpoint.state


def events_of(folder: Path) -> list[int]:
    return [
        json.loads(line)["event"] for line in (folder / "events.jsonl").read_text().splitlines()
    ]


def test_a_new_folder_holds_nothing_yet(tmp_path: Path) -> None:
    assert state_of(tmp_path / "made" / "here") is None


def test_the_last_state_comes_back(tmp_path: Path) -> None:
    saved(tmp_path)
    assert state_of(tmp_path) == {"step": 2}
    assert events_of(tmp_path) == [1, 2]


@pytest.mark.parametrize("damage", ["", "{", '{"identity": {}, "events": 1}', "[]", "\x00\x00"])
def test_a_damaged_state_is_an_error_that_says_what_to_do(damage: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "state.json").write_text(damage)
    with pytest.raises(CheckpointError, match=r"state.json is damaged .*: delete the folder"):
        Checkpoint(tmp_path, IDENTITY)
    assert events_of(tmp_path) == [1, 2]
    (tmp_path / "state.json").unlink()  # nothing stays locked
    assert state_of(tmp_path) is None


def test_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(CheckpointError, match="another trainset, weights"):
        Checkpoint(tmp_path, {"config": "a", "trainset": "other", "weights": "w"})
    assert state_of(tmp_path) == {"step": 2}


def test_two_processes_cannot_use_one_folder(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, IDENTITY)
    script = "import sys; from dspy_greater.record import Checkpoint; Checkpoint(sys.argv[1], {})"
    command = [sys.executable, "-c", script, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "in use by another process" in done.stderr
    checkpoint.close()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="file is a file, not a folder: give the name of a"):
        Checkpoint(tmp_path / "file", IDENTITY)
    with pytest.raises(CheckpointError, match="cannot be written"):
        Checkpoint(tmp_path / "file" / "below", IDENTITY)


def test_a_disk_that_fills_up_later_ends_the_checkpoints_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Checkpoint(tmp_path, IDENTITY)
    checkpoint.save({"step": 1}, {"event": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    checkpoint.save({"step": 2}, {"event": 2})
    checkpoint.save({"step": 3}, {"event": 3})
    checkpoint.close()
    assert [record.message.count("No space left") for record in caplog.records] == [1]
    assert state_of(tmp_path) == {"step": 1}
    assert events_of(tmp_path) == [1]


def test_the_best_program_loads(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path, IDENTITY)
    checkpoint.save_best(dspy.Predict(dspy.Signature("question -> answer", "Be good.")))
    checkpoint.close()
    program = dspy.Predict("question -> answer")
    program.load(tmp_path / "best_program.json")
    assert program.signature.instructions == "Be good."


def test_a_fingerprint_sees_every_change() -> None:
    value = {"a": [1, 2.5, None], "b": dspy.Example(x=1)}
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))
    assert fingerprint(value) != fingerprint({**value, "a": [1, 2.5, 0]})
