"""Where the data come from; these are invented, and laid out as the published ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dspy_greater.program import DataError, current_adapter
from dspy_greater.program.data import check_dataset
from dspy_greater.program.labels import check_labels
from dspy_greater.program.predictors import predictors_of
from examples.tasks import load, sources

ROOT = Path(__file__).resolve().parents[3]


def bbh_rows(count: int) -> list[dict[str, str]]:
    return [{"input": f"Go {n} steps. Are you back?", "target": "No"} for n in range(count)]


def gsm8k_rows(count: int, word: str) -> list[dict[str, str]]:
    return [
        {"question": f"{word} {n}?", "answer": f"Add <<{n}+1000={n + 1000}>>.\n#### {n + 1000:,}"}
        for n in range(count)
    ]


def folio_rows(count: int, word: str, lines: bool, label: str) -> list[dict[str, Any]]:
    rows = []
    for n in range(count):
        premises = [f"Every {word} {n} is blue.", f"This is a {word} {n}."]
        rows.append(
            {
                "premises": "\n".join(premises) if lines else premises,
                "conclusion": "This is blue.",
                "label": label,
            }
        )
    return rows


def write(path: Path, rows: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps({"canary": "none", "examples": list(rows)}))
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with three tasks, laid out as they are published."""
    write(tmp_path / "bbh" / "navigate.json", bbh_rows(250))
    write(tmp_path / "gsm8k" / "train.jsonl", gsm8k_rows(200, "Shop"))
    write(tmp_path / "gsm8k" / "test.jsonl", gsm8k_rows(120, "Market"))
    write(tmp_path / "folio" / "train.jsonl", folio_rows(200, "jay", False, "Unknown"))
    write(tmp_path / "folio" / "validation.jsonl", folio_rows(120, "tit", False, "Uncertain"))
    return tmp_path


HUB = {
    ("lukaemon/bbh", "navigate", "test"): bbh_rows(250),
    ("openai/gsm8k", "main", "train"): gsm8k_rows(200, "Shop"),
    ("openai/gsm8k", "main", "test"): gsm8k_rows(120, "Market"),
    ("yale-nlp/FOLIO", None, "train"): folio_rows(200, "jay", True, "Uncertain"),
    ("yale-nlp/FOLIO", None, "validation"): folio_rows(120, "tit", True, "Uncertain"),
}


def load_from_hub(path: str, name: str | None = None, *, split: str) -> list[dict[str, Any]]:
    """What `datasets.load_dataset` does, with the hub's names, splits and columns."""
    return HUB[path, name, split]


@pytest.mark.parametrize("name", ["navigate", "gsm8k", "folio"])
def test_folder_variable_and_hub_give_the_same_examples(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_folder = load(name, folder).splits(0)
    monkeypatch.setattr("datasets.load_dataset", load_from_hub)
    from_hub = load(name).splits(0)
    monkeypatch.setattr("datasets.load_dataset", None)  # Not asked when there is a folder.
    monkeypatch.setenv(sources.FOLDER_VARIABLE, str(folder))
    assert load(name).splits(0) == from_folder == from_hub
    assert [len(split) for split in from_hub] == [50, 100, 100]


@pytest.mark.parametrize("name", ["banking77", "scone", "facility"])
def test_what_the_hub_does_not_have_needs_the_folder(name: str) -> None:
    with pytest.raises(DataError, match=r"not on the Hugging Face hub.*DSPY_GREATER_DATA"):
        load(name).splits(0)


def test_examples_fit_their_programs(folder: Path) -> None:
    for name in ("navigate", "gsm8k", "folio"):
        task = load(name, folder)
        program, train = task.program(), task.splits(0).train
        check_dataset("trainset", train, program)
        (predictor,) = predictors_of(program, train)
        check_labels("trainset", train, [predictor], current_adapter())
        assert predictor.label_fields == ("answer",)


def test_answers_are_those_that_the_signature_asks_for(folder: Path) -> None:
    (example, *_) = sources.gsm8k("train", folder)
    assert example.toDict() == {"question": "Shop 0?", "answer": "1000"}
    (example, *_) = sources.folio("train", folder)
    assert example.toDict() == {
        "premises": "Every jay 0 is blue.\nThis is a jay 0.",
        "conclusion": "This is blue.",
        "answer": "Uncertain",
    }
    assert set(example.inputs()) == {"premises", "conclusion"}


def test_a_line_separator_within_a_question_ends_no_row(folder: Path) -> None:
    (row, *_) = gsm8k_rows(1, "Shop\u2028or stall")
    write(folder / "gsm8k" / "train.jsonl", [row])
    assert len(sources.gsm8k("train", folder)) == 1


def test_datasets_is_imported_only_to_ask_the_hub(folder: Path) -> None:
    code = (
        "import sys; from examples.tasks import load; "
        f"load('navigate', {str(folder)!r}).splits(0); "
        "sys.exit('datasets' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_an_unknown_task_is_told_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"no task 'navigation': choose one of .*navigate.*gsm8k"):
        load("navigation")


def test_a_missing_folder_or_file_is_named_with_a_remedy(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no bbh/snarks\.json in the folder .*: give another"):
        load("snarks", folder).splits(0)
    with pytest.raises(DataError, match=r"elsewhere, which does not exist: .*DSPY_GREATER_DATA"):
        load("snarks", folder / "elsewhere").splits(0)


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": []}', '{"examples": [1]}', "\udcff"])
def test_a_file_that_is_not_the_published_one_is_named(folder: Path, text: str) -> None:
    (folder / "bbh" / "navigate.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"navigate\.json is not the published file"):
        load("navigate", folder).splits(0)


def test_a_missing_column_is_named(folder: Path) -> None:
    write(folder / "bbh" / "navigate.json", [*bbh_rows(2), {"input": "Go.", "label": "No"}])
    with pytest.raises(DataError, match=r"Row 2 of .*navigate\.json has no target, only input, la"):
        load("navigate", folder).splits(0)


def test_a_hub_out_of_reach_is_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'yale-nlp/FOLIO' on the Hub")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"FOLIO.*ConnectionError.*hf auth login.*DSPY_GREATER"):
        load("folio").splits(0)
