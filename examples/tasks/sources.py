"""The published data, from a folder or from the Hugging Face hub.

A folder (the argument `data`, or the environment variable DSPY_GREATER_DATA) holds the files as
they were published:

    bbh/<task>.json                       github.com/suzgunmirac/BIG-Bench-Hard, bbh/
    gsm8k/train.jsonl, test.jsonl         github.com/openai/grade-school-math, .../data/
    folio/train.jsonl, validation.jsonl   github.com/Yale-LILY/FOLIO, data/v0.0/
    banking77/train.csv, test.csv         github.com/PolyAI-LDN/task-specific-datasets,
                                          banking_data/
    scone/train/<kind>.csv, test/...      github.com/selenashe/ScoNe, scone_nli/
    facility/dataset.json                 github.com/meta-llama/llama-prompt-ops,
                                          use-cases/facility-support-analyzer/

Without one the same data of the first three come from the hub: lukaemon/bbh, openai/gsm8k and
yale-nlp/FOLIO, where FOLIO is a later, corrected version. The others need the folder. They are here
to measure with: no model may be trained on them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import dspy

from dspy_greater.program import DataError

FOLDER_VARIABLE = "DSPY_GREATER_DATA"
Data = str | Path | None


def bbh(name: str, data: Data = None) -> list[dspy.Example]:
    """Return the examples of a BIG-Bench Hard task."""
    rows = _rows(f"bbh/{name}.json", ("lukaemon/bbh", name, "test"), ("input", "target"), data)
    return [_example({"question": row["input"]}, row["target"]) for row in rows]


def gsm8k(split: str, data: Data = None) -> list[dspy.Example]:
    """Return the examples of GSM8K's train or test split; answers are the bare numbers."""
    hub = ("openai/gsm8k", "main", split)
    rows = _rows(f"gsm8k/{split}.jsonl", hub, ("question", "answer"), data)
    return [
        _example(
            {"question": row["question"]},
            row["answer"].rpartition("####")[2].strip().replace(",", ""),
        )
        for row in rows
    ]


def folio(split: str, data: Data = None) -> list[dspy.Example]:
    """Return the examples of FOLIO's train or validation split.

    The premises are a list in the files and lines of one string on the hub. The label Unknown of
    the first version is the Uncertain of all others.
    """
    columns = ("premises", "conclusion", "label")
    rows = _rows(f"folio/{split}.jsonl", ("yale-nlp/FOLIO", None, split), columns, data)
    return [
        _example(
            {
                "premises": p if isinstance(p := row["premises"], str) else "\n".join(p),
                "conclusion": row["conclusion"],
            },
            "Uncertain" if row["label"] == "Unknown" else row["label"],
        )
        for row in rows
    ]


def banking77(split: str, intents: Collection[str], data: Data = None) -> list[dspy.Example]:
    """Return the queries of Banking77's train or test split that have one of some intents."""
    rows = _rows(f"banking77/{split}.csv", None, ("text", "category"), data)
    return [
        _example({"query": " ".join(row["text"].split())}, row["category"])
        for row in rows
        if row["category"] in intents
    ]


#: The files of ScoNe: how many negations a pair of sentences has, and how many of them matter.
SCONE = (
    "no_negation",
    "one_not_scoped",
    "one_scoped",
    "one_scoped_one_not_scoped",
    "two_not_scoped",
    "two_scoped",
)


def scone(split: str, data: Data = None) -> list[dspy.Example]:
    """Return the pairs of ScoNe's train or test split, asked as DSPy's own tutorial asks them.

    The sentences as they were edited count; those of one_scoped, which comes from an earlier
    dataset, never were.
    """
    examples = []
    for kind in SCONE:
        edited = "" if kind == "one_scoped" else "_edited"
        columns = [column + edited for column in ("sentence1", "sentence2", "gold_label")]
        for row in _rows(f"scone/{split}/{kind}.csv", None, columns, data):
            context, conclusion, label = (row[column] for column in columns)
            question = f"Can we logically conclude for sure that {_lowered(conclusion)}"
            examples.append(
                _example(
                    {"context": context, "question": question},
                    "Yes" if label == "entailment" else "No",
                )
            )
    return examples


def _lowered(sentence: str) -> str:
    """Return a sentence as the end of a question."""
    return f"{sentence[:1].lower()}{sentence[1:]}".strip().rstrip(".") + "?"


def facility(data: Data = None) -> list[dspy.Example]:
    """Return the e-mails to a facility's support, with urgency, sentiment and categories."""
    rows = _rows("facility/dataset.json", None, ("fields", "answer"), data)
    examples = []
    for row in rows:
        gold = json.loads(row["answer"])
        held = sorted(name for name, holds in gold["categories"].items() if holds)
        outputs = {"urgency": gold["urgency"], "sentiment": gold["sentiment"], "categories": held}
        examples.append(
            dspy.Example(message=row["fields"]["input"], **outputs).with_inputs("message")
        )
    return examples


def _example(inputs: Mapping[str, str], answer: str) -> dspy.Example:
    return dspy.Example(**inputs, answer=answer).with_inputs(*inputs)


def _rows(
    file: str, hub: tuple[str, str | None, str] | None, columns: Iterable[str], data: Data
) -> list[dict[str, Any]]:
    """Return the rows of a file in the folder if there is a folder, and of the hub otherwise."""
    folder = data or os.environ.get(FOLDER_VARIABLE)
    if folder:
        rows, place = _read(Path(folder), file), str(Path(folder) / file)
    elif hub is not None:
        rows, place = _fetch(*hub, file), hub[0]
    else:
        raise DataError(
            f"{file} is not on the Hugging Face hub in the form it was published: give a folder "
            f"that holds it, as data= or in {FOLDER_VARIABLE} (examples/tasks/sources.py says from "
            "where)."
        )
    for index, row in enumerate(rows):
        if absent := [column for column in columns if column not in row]:
            raise DataError(
                f"Row {index} of {place} has no "
                f"{' and no '.join(absent)}, only {', '.join(row)}: use the data as they were "
                "published (examples/tasks/sources.py says where)."
            )
    return rows


def _read(folder: Path, file: str) -> list[dict[str, Any]]:
    path = folder / file
    if not path.is_file():
        raise DataError(
            f"There is no {file} in the folder {folder}"
            f"{'' if folder.is_dir() else ', which does not exist'}: give another folder (data= or "
            f"{FOLDER_VARIABLE}), put the file there (examples/tasks/sources.py says from where), "
            "or give none, and the Hugging Face hub is read."
        )
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [dict(json.loads(line)) for line in text.split("\n") if line.strip()]
        if path.suffix == ".csv":
            return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        content = json.loads(text)
        listed = content if isinstance(content, list) and content else content["examples"]
        return [dict(row) for row in listed]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise DataError(
            f"{path} is not the published file ({type(error).__name__}: {error}): fetch it anew "
            "(examples/tasks/sources.py says from where)."
        ) from error


def _fetch(name: str, config: str | None, split: str, file: str) -> list[dict[str, Any]]:
    try:
        import datasets

        return [dict(row) for row in datasets.load_dataset(name, config, split=split)]
    except Exception as error:  # It raises anything from its own errors to those of its transport.
        raise DataError(
            f"{name} ({config or 'default'}, {split}) could not be read from the Hugging Face hub "
            f"({type(error).__name__}: {error}). Connect to it (if it asks for a login: accept the "
            f"terms at https://huggingface.co/datasets/{name}, then `hf auth login`), or give a "
            f"folder with {file}, as data= or in {FOLDER_VARIABLE}."
        ) from error
