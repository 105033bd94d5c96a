"""A compiled program, saved and loaded, sends the same messages; its record goes beside it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import dspy
import pytest
from dspy.adapters.baml_adapter import BAMLAdapter

import dspy_greater
from dspy_greater import DetailedResults, __version__
from tests.support.compiling import START, configured, examples, lm, small, student
from tests.support.composing import Contrary, improved, instructions, messages

__all__ = ["configured", "lm", "student"]

ADAPTERS = [dspy.ChatAdapter(), dspy.JSONAdapter(), dspy.XMLAdapter(), BAMLAdapter()]


@pytest.fixture(scope="module")
def compiled(lm: dspy.LM) -> dspy.Module:
    """Two predictors with new instructions, and with demos whose text is not easy to keep."""
    program = Contrary()
    program.rewrite.predict.demos = [
        dspy.Example(question="Wie groß?\n\n  „Sehr“ 🦙", reasoning="\ttabs", query="größe\\n"),
        dspy.Example(question="[[ ## query ## ]]", query="<query>{}</query>"),
    ]
    program.answer.demos = [dspy.Example(question='"a"', query="b", answer="\u2028c").toDict()]
    with dspy.context(lm=lm):
        result = improved(program)
    assert START not in instructions(result)
    return result


def by_json(program: dspy.Module, folder: Path) -> dspy.Module:
    program.save(folder / "program.json")
    loaded = Contrary()
    loaded.load(folder / "program.json")
    return loaded


def by_state_pickle(program: dspy.Module, folder: Path) -> dspy.Module:
    program.save(folder / "program.pkl")
    loaded = Contrary()
    loaded.load(folder / "program.pkl", allow_pickle=True)
    return loaded


def by_whole_program(program: dspy.Module, folder: Path) -> dspy.Module:
    program.save(folder / "whole", save_program=True)
    return dspy.load(folder / "whole", allow_pickle=True)


def by_cloudpickle(program: dspy.Module, folder: Path) -> dspy.Module:
    return cloudpickle.loads(cloudpickle.dumps(program))


def by_deepcopy(program: dspy.Module, folder: Path) -> dspy.Module:
    return program.deepcopy()


WHOLE = [by_whole_program, by_cloudpickle, by_deepcopy]
STATE = [by_json, by_state_pickle]
Trip = Callable[[dspy.Module, Path], dspy.Module]


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("trip", [*STATE, *WHOLE], ids=lambda each: each.__name__)
def test_the_loaded_program_sends_the_same_messages_to_the_letter(
    trip: Trip, adapter: dspy.Adapter, compiled: dspy.Module, tmp_path: Path
) -> None:
    loaded = trip(compiled, tmp_path)
    assert loaded is not compiled
    assert instructions(loaded) == instructions(compiled)
    assert messages(loaded, adapter) == messages(compiled, adapter)
    assert loaded.dump_state() == compiled.dump_state()


@pytest.mark.parametrize("trip", WHOLE, ids=lambda each: each.__name__)
def test_the_record_goes_along_with_a_whole_program(
    trip: Trip, compiled: dspy.Module, tmp_path: Path
) -> None:
    loaded = trip(compiled, tmp_path)
    assert loaded.detailed_results == compiled.detailed_results
    assert loaded.candidate_programs == compiled.candidate_programs
    assert loaded.detailed_results is not compiled.detailed_results


@pytest.mark.parametrize("trip", STATE, ids=lambda each: each.__name__)
def test_the_record_is_saved_beside_a_programs_state(
    trip: Trip, compiled: dspy.Module, tmp_path: Path
) -> None:
    assert not hasattr(trip(compiled, tmp_path), "detailed_results")
    path = compiled.detailed_results.save(tmp_path / "run.json")
    loaded = DetailedResults.load(path)
    assert loaded == compiled.detailed_results
    assert loaded.summary() == compiled.detailed_results.summary()
    assert loaded.report(tmp_path / "run.html").exists()
    assert pickle.loads(pickle.dumps(loaded)) == loaded


def test_a_compiled_program_is_optimized_again_after_loading(
    compiled: dspy.Module, tmp_path: Path
) -> None:
    again = improved(by_whole_program(compiled, tmp_path))
    assert [each.before for each in again.detailed_results.outcomes] == instructions(compiled)


WITHOUT = """
import sys
for name in {without}:
    sys.modules[name] = None
import dspy
program = dspy.load("whole", allow_pickle=True)
dspy.configure(lm=dspy.utils.DummyLM([{{"reasoning": "r", "answer": "5"}}]))
print(program(question="?").answer, program.signature.instructions)
print(program.detailed_results.summary())
"""


@pytest.mark.parametrize(
    ("without", "by_value"),
    [(["torch", "transformers"], None), (["torch", "transformers", "dspy_greater"], dspy_greater)],
    ids=["without torch", "without this package"],
)
def test_a_whole_program_runs_elsewhere_with_its_record(
    without: list[str], by_value: Any, compiled: dspy.Module, tmp_path: Path
) -> None:
    program = dspy.Predict(dspy.Signature("question -> answer", "Count."))
    program.detailed_results = compiled.detailed_results
    modules = None if by_value is None else [by_value]
    program.save(tmp_path / "whole", save_program=True, modules_to_serialize=modules)
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(without=without)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    first, _, summary = done.stdout.partition("\n")
    assert first == "5 Count.", done.stderr
    assert summary.strip() == compiled.detailed_results.summary()


LOADED = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["dspy_greater"] = None
import dspy
program = dspy.ChainOfThought("question -> answer")
program.load(sys.argv[1])
dspy.configure(lm=dspy.utils.DummyLM([{"reasoning": "r", "answer": "5"}]))
print(program(question="?").answer, program.predictors()[0].signature.instructions)
"""


@pytest.mark.parametrize("named", [False, True], ids=["configured", "set_lm"])
def test_no_local_lm_is_built_into_a_result_which_runs_where_torch_cannot_be_imported(
    named: bool, student: dspy.Module, lm: dspy.LM, tmp_path: Path
) -> None:
    own = lm.copy(temperature=0.5) if named else None
    student.set_lm(own)
    compiled = small(lm=own, log_dir=tmp_path).compile(student, trainset=examples())
    assert compiled.predictors()[0].lm is own
    compiled.save(tmp_path / "program.json")
    for name in ("program.json", "best_program.json"):
        saved = tmp_path / name
        assert "local/" not in saved.read_text()
        assert "fingerprint" not in saved.read_text()
        done = subprocess.run(
            [sys.executable, "-c", LOADED, str(saved)], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == f"5 {START}", done.stderr


def test_a_record_is_read_without_torch(compiled: dspy.Module, tmp_path: Path) -> None:
    path = compiled.detailed_results.save(tmp_path / "run.json")
    script = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = sys.modules["dspy"] = None
from dspy_greater import DetailedResults
print(DetailedResults.load(sys.argv[1]).improved)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr


def test_the_saved_record_is_plain_json_and_replaces_an_older_one(
    compiled: dspy.Module, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    path.write_text("older")
    assert compiled.detailed_results.save(str(path)) == path
    saved = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert saved["versions"]["dspy_greater"] == __version__
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_record_on_a_full_disk_leaves_the_older_one(
    compiled: dspy.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    path = DetailedResults(seed=1).save(tmp_path / "run.json")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"the record cannot be written to .*run.json.*No space left"):
        compiled.detailed_results.save(path)
    assert DetailedResults.load(path).seed == 1
    assert os.listdir(tmp_path) == ["run.json"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing does not exist: make it first"):
        DetailedResults().save(tmp_path / "missing" / "run.json")


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", "\xff", '{"outcomes": [], "candidates": [], "wonders": 3}']
)
def test_what_is_no_record_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"run\.json is not a record .*detailed_results\.save"):
        DetailedResults.load(path)
