"""What decides a result is part of a ``log_dir``'s identity, and nothing else is."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Literal

import dspy
import numpy as np
import pydantic
import pytest

from dspy_greater import VerifiedConfig
from dspy_greater.record import CheckpointError, fingerprint
from dspy_greater.record.identity import modules_of
from dspy_greater.state import CompileState
from tests.support.compiling import configured, examples, lm, small

__all__ = ["configured", "lm"]

CONFIG = VerifiedConfig(
    max_steps=1, asked=0, starts=0, library=False, examples=0, instructions=("Take care.",)
)


def exact(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return bool(example.answer == prediction.answer)


def lower(text: str) -> str:
    return text.lower()


def loose(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return all(lower(a) == lower(b) for a, b in [(example.answer, prediction.answer)])


def at_least(share: float) -> Callable[..., float]:
    return lambda example, prediction: float(share)


class Judge:
    """A metric that counts its calls."""

    def __init__(self, share: float) -> None:
        self.share, self.calls = share, 0

    def __call__(self, example: dspy.Example, prediction: dspy.Prediction) -> float:
        self.calls += 1
        return self.share

    def score(self, example: dspy.Example, prediction: dspy.Prediction, least: float = 0) -> float:
        return max(self.share, least)


def predictor(answer: Any = str, desc: str = "", **config: Any) -> dspy.Predict:
    fields = {"question": (str, dspy.InputField()), "answer": (answer, dspy.OutputField(desc=desc))}
    return dspy.Predict(dspy.Signature(fields, "Answer."), **config)


class Hop(dspy.Module):
    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times, self.answer = times, predictor()

    def forward(self, question: str) -> dspy.Prediction:
        return [self.answer(question=question) for _ in range(self.times)][-1]


class OtherHop(Hop):
    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=question.strip())


class Shade(enum.Enum):
    DARK, LIGHT = "dark", "light"


class Shade2(enum.Enum):
    DARK, LIGHT = "dark", "pale"


class Verdict(pydantic.BaseModel):
    right: bool = pydantic.Field(description="whether it is right")


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (exact, loose),
        (at_least(0.5), at_least(0.6)),
        (Judge(0.5), Judge(0.6)),
        (Judge(0.5).score, Judge(0.6).score),
        (partial(Judge(0.5).score, least=0.1), partial(Judge(0.5).score, least=0.2)),
        (np.arange(5000), np.where(np.arange(5000) == 2500, 0, np.arange(5000))),
        (np.int64(1), np.int64(2)),
        (np.int64(1), "1"),
        ({1: "a", "b": 2}, {1: "a", "b": 3}),
        ({(1, 2): "a"}, {(1, 3): "a"}),
        ({"a", "b"}, {"a", "c"}),
        (date(2020, 1, 1), date(2020, 1, 2)),
        (Verdict(right=True), Verdict(right=False)),
        (Shade.DARK, Shade.LIGHT),
        (Point(1), Point(2)),
        (dspy.Example(a=1), dspy.Example(a=2)),
        (
            dspy.Image(url="data:image/png;base64,AAAA"),
            dspy.Image(url="data:image/png;base64,BBBB"),
        ),
        (dspy.ChatAdapter(), dspy.JSONAdapter()),
        (dspy.ChatAdapter(), dspy.ChatAdapter(use_json_adapter_fallback=False)),
        (b"a", b"b"),
    ],
)
def test_what_differs_has_another_fingerprint(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(one)
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    "program",
    [
        predictor(int),
        predictor(Literal["a", "b"]),
        predictor(Literal["a", "c"]),
        predictor(Shade),
        predictor(Shade2),
        predictor(list[Verdict]),
        predictor(desc="in one word"),
        predictor(temperature=0.5),
        dspy.ChainOfThought(predictor().signature),
        Hop(),
        Hop(2),
        OtherHop(),
    ],
)
def test_another_program_has_another_fingerprint(program: dspy.Module) -> None:
    assert fingerprint(modules_of(program)) != fingerprint(modules_of(predictor()))
    assert fingerprint(modules_of(program)) == fingerprint(modules_of(program.deepcopy()))


def test_every_program_of_the_table_differs_from_the_others() -> None:
    kinds = [Hop(), Hop(2), OtherHop(), predictor(Shade), predictor(Shade2)]
    assert len({fingerprint(modules_of(each)) for each in kinds}) == len(kinds)


def test_what_a_metric_counts_and_how_it_is_written_down_do_not_matter() -> None:
    judge = Judge(0.5)
    before = fingerprint(judge)
    judge(dspy.Example(), dspy.Prediction())
    assert fingerprint(judge) == before

    def made(source: str) -> Any:
        space: dict[str, Any] = {}
        exec(source, space)
        return space["metric"]

    plain = "def metric(example, prediction):\n    return example.a == prediction.a"
    told = "# a comment\n\n\n" + plain.replace(":\n", ":\n    # another\n\n")
    assert fingerprint(made(plain)) == fingerprint(made(told))
    assert fingerprint(made(plain)) != fingerprint(made(plain.replace("==", "!=")))
    named = "answer = 5\n" + plain.replace(".a", ".answer")  # a field is no global variable
    assert fingerprint(made(named)) == fingerprint(made(named.replace("5", "6")))


def of_many_kinds() -> str:
    kinds = [{"b", "a", "c"}, loose, Judge(1), modules_of(Hop()), Shade, object()]
    return fingerprint(kinds)


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    code = "import tests.test_identity as these; print(these.of_many_kinds())"
    root = str(Path(__file__).resolve().parents[1])
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"metric": loose}, "metric"),
        ({"adapter": dspy.JSONAdapter()}, "adapter"),
        ({"program": predictor(Literal["3", "4", "5", "6", "7", "8", "9"])}, "program"),
        ({"program": predictor(temperature=0.3)}, "program"),
        ({"lm": {"max_tokens": 5}}, "settings of the LM"),
        ({"scripts": ["greek"]}, "config"),
        ({"seed": 1}, "config, trainset, valset"),
        ({"trainset": examples()}, "trainset, valset"),
    ],
)
def test_a_log_dir_of_another_compile_is_refused_by_what_differs(
    changed: dict[str, Any], named: str, lm: dspy.LM, tmp_path: Path
) -> None:
    def run(
        program: dspy.Module,
        adapter: Any = None,
        lm: Any = None,
        trainset: Any = None,
        **knobs: Any,
    ) -> dspy.Module:
        its = dspy.settings.lm.copy(**(lm or {}))
        with dspy.context(adapter=adapter, lm=its):
            settings = {"metric": exact, "schedule": CONFIG, "log_dir": tmp_path, **knobs}
            return small(**settings).compile(program, trainset=trainset or marked)

    marked = [dspy.Example(**each.toDict(), id=1).with_inputs("question") for each in examples()]
    first = run(predictor())
    again = run(predictor())
    assert again.detailed_results.total_calls == first.detailed_results.total_calls
    with pytest.raises(CheckpointError, match=f"holds a run with another {named}\\."):
        run(**{"program": predictor(), **changed})


def test_other_versions_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> dspy.Module:
        return small(metric=exact, schedule=CONFIG, log_dir=tmp_path).compile(
            predictor(), trainset=examples()
        )

    def elsewhere(self: CompileState) -> dict[str, Any]:
        found = plain(self)
        found["record"]["versions"]["torch"] = "1.0"
        return found

    plain = CompileState.dump
    with monkeypatch.context() as patched:
        patched.setattr(CompileState, "dump", elsewhere)
        run()
    caplog.clear()
    run()
    told = [each.getMessage() for each in caplog.records if "was begun with" in each.getMessage()]
    assert len(told) == 1
    assert "{'torch': '1.0'}" in told[0]
