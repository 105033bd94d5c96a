"""Values of all kinds that examples carry: rows of numpy, pandas and parquet, models, dates."""

from __future__ import annotations

import datetime
import enum
from decimal import Decimal
from pathlib import Path
from typing import Any

import dspy
import numpy as np
import pydantic
import pytest

from dspy_greater.program import DataError, InstructionError, check_instruction, gold_value
from dspy_greater.program.predictors import predictors_of
from tests.support.bad_input import QA, program
from tests.support.compiling import configured, examples, lm, small
from tests.support.scripted import TINY, chat, play

__all__ = ["configured", "lm"]


class Unit(enum.Enum):
    METRE = "m"


class Row(pydantic.BaseModel):
    name: str
    when: datetime.date


DAY = datetime.date(2024, 2, 29)
VALUES: dict[str, Any] = {
    "numpy's whole number": np.int64(7),
    "numpy's number": np.float32(0.5),
    "an array": np.array(["a", "b"]),
    "a long array": np.arange(5000),
    "a table": np.ones((2, 2)),
    "a date": DAY,
    "numpy's date": np.datetime64("2024-02-29T00:00:00.000000000"),
    "a decimal": Decimal("1.50"),
    "a model": Row(name="x", when=DAY),
    "a list of models": [Row(name="x", when=DAY)],
    "an enum": Unit.METRE,
    "lists of such": [[np.int64(1)], [DAY], [Decimal(1)], [Unit.METRE]],
    "keys of any kind": {1: "a", "b": np.int64(2), (1, 2): {Unit.METRE}},
    "bytes": b"\xff",
    "a conversation": dspy.History(messages=[{"question": "Who?", "answer": "Me."}]),
    "missing": float("nan"),
}


@pytest.mark.parametrize("where", ["input", "beside"])
@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_values_of_all_kinds_go_through(
    value: Any, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As inputs, and in fields that only the metric reads; twice, with a folder and a record."""
    play(monkeypatch, chat({"answer": "3"}))
    kind = dspy.History if isinstance(value, dspy.History) else Any
    fields: dict[str, Any] = {
        "question": (str, dspy.InputField()),
        "given": (kind, dspy.InputField()),
        "answer": (str, dspy.OutputField()),
    }
    names = ["question", "given"][: 1 + (where == "input")]
    data = [dspy.Example(**each.toDict(), given=value).with_inputs(*names) for each in examples()]
    student: Any = dspy.Signature(fields, "Answer.")
    student = dspy.Predict(student if where == "input" else student.delete("given"))
    calls = []
    for _ in range(2):
        record = (
            small(schedule=TINY, log_dir=tmp_path, perfect_score=None)
            .compile(student, trainset=data)
            .detailed_results
        )
        assert record.parse_failures == 0
        calls.append(record.total_calls)
        record.save(tmp_path / "record.json")
    assert calls[0] == calls[1]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (np.int64(7), "7"),
        (np.array(["seven", "7"]), "seven"),  # several accepted answers, as parquet holds them
        (DAY, "2024-02-29"),
        (Decimal("1.50"), "1.50"),
        (Unit.METRE, None),
        (Row(name="x", when=DAY), None),
        (b"seven", None),
        (np.ones((2, 2)), None),
        (len, None),
    ],
)
def test_a_label_of_a_text_field_is_a_text_or_refused_by_name(label: Any, text: str | None) -> None:
    example = dspy.Example(question="?", answer=label).with_inputs("question")
    (predictor,) = predictors_of(program(), [example])
    if text is not None:
        assert gold_value(predictor, "answer", example) == text
        return
    with pytest.raises(DataError, match=r"(?s)has the label answer=.* is not a text"):
        gold_value(predictor, "answer", example)


@pytest.mark.parametrize("blank", ["", " ", "\n\n", "\u00a0", "\u200b", "\ufeff", "\u00ad \u2060"])
def test_what_shows_nothing_is_no_instruction(blank: str) -> None:
    with pytest.raises(InstructionError, match="the instruction of predictor 'a' is empty"):
        check_instruction(QA, blank, "a")


@pytest.mark.parametrize(
    "odd",
    ["...", "?", "—", "{x} %s", "```", "<a>", "[[ ## answer", "\\n", "👍", "x", "word " * 300],
)
def test_odd_instructions_are_begun_with(odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, chat({"answer": "3"}))
    compiled = small(schedule=TINY).compile(program(odd.strip()), trainset=examples())
    assert compiled.detailed_results.outcomes[0].before == odd.strip()
