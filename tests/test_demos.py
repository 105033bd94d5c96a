"""`demos="search"`: sets of demos race, and come back where they earn their place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from dspy_greater.program.demos import examples_of
from dspy_greater.report import DetailedResults
from dspy_greater.search.programs import DEMOS
from tests.support.scripted import chat, play
from tests.support.tiny import make_model, make_tokenizer

CONFIG = VerifiedConfig(
    max_steps=2, asked=0, starts=0, library=False, examples=0, instructions=("Take care.", "Guess.")
)
DATA = [dspy.Example(text=f"mail {i}", answer="yes").with_inputs("text") for i in range(36)]
TRAIN, VALIDATION = DATA[:24], DATA[24:]


class Pair(dspy.Module):
    """Hands what the first predictor wrote on to the second."""

    def __init__(self) -> None:
        super().__init__()
        self.note = dspy.Predict(dspy.Signature("text -> note", "Write a note."))
        self.answer = dspy.Predict(dspy.Signature("text -> answer", "Answer."))

    def forward(self, text: str) -> dspy.Prediction:
        return self.answer(text=self.note(text=text).note)


def plain() -> dspy.Module:
    return dspy.Predict(dspy.Signature("text -> answer", "Answer."))


def compiled(
    reply: Any, monkeypatch: pytest.MonkeyPatch, program: dspy.Module | None = None, **knobs: Any
) -> dspy.Module:
    play(monkeypatch, chat(reply))
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer), max_position_embeddings=8192)
    settings = {"schedule": CONFIG, "progress": False, "demos": "search", **knobs}
    with dspy.context(lm=local_lm((model, tokenizer), cache=False)):
        return GreaterTeleprompter(
            lambda example, prediction, trace=None: prediction.answer == example.answer, **settings
        ).compile(program or plain(), trainset=TRAIN, valset=VALIDATION)


def mails(prompt: str) -> list[int]:
    """The numbers of the mails in a prompt: those of the demos, and the one that is asked about."""
    return [int(number) for number in re.findall(r"mail (\d+)", prompt)]


def demos(prompt: str) -> int:
    return len(mails(prompt)) - 1


def answered(right: Callable[[str], bool]) -> dict[str, Callable[[str], str]]:
    return {"answer": lambda prompt: "yes" if right(prompt) else "no"}


def test_demos_that_help_come_back_and_are_saved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    student = plain()
    program = compiled(answered(lambda p: demos(p) >= 2), monkeypatch, student)
    (predictor,) = program.predictors()
    assert len(predictor.demos) == 2
    assert predictor.signature.instructions == "Answer."
    assert student.demos == []
    (words, shown) = program.detailed_results.outcomes
    assert (words.changed, shown.changed, shown.grade) == (False, True, "vouched for")
    assert "the set of demos: 0.0% -> 100.0%" in program.detailed_results.summary()
    program.save(tmp_path / "program.json")
    again = plain()
    again.load(tmp_path / "program.json")
    assert [d["text"] for d in again.demos] == [d["text"] for d in predictor.demos]
    program.detailed_results.save(tmp_path / "run.json")
    assert DetailedResults.load(tmp_path / "run.json").outcomes == [words, shown]


def test_nobody_races_on_an_example_that_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled(answered(lambda p: demos(p) >= 2), monkeypatch)
    raced = [c for c in program.detailed_results.candidates if c.kind == DEMOS]
    assert max(len(c.train_scores) + len(examples_of(c.instruction)) for c in raced) == len(TRAIN)
    assert len(set.union(*(examples_of(c.instruction) for c in raced))) > 4


def test_demos_that_do_not_help_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled(answered(lambda p: "Take care." in p), monkeypatch)
    (predictor,) = program.predictors()
    assert predictor.demos == []
    assert predictor.signature.instructions == "Take care."
    told = program.detailed_results.summary()
    assert "the set of demos: kept as it was; nothing tried beat" in told


def test_demos_and_words_that_both_help_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def right(prompt: str) -> bool:
        return demos(prompt) >= 2 and (mails(prompt)[-1] % 2 == 0 or "Take care." in prompt)

    program = compiled(answered(right), monkeypatch)
    (predictor,) = program.predictors()
    assert len(predictor.demos) >= 2
    assert predictor.signature.instructions == "Take care."
    assert program.detailed_results.outcomes[0].together == ["self", "the set of demos"]


def test_words_that_help_on_training_examples_alone_are_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def right(prompt: str) -> bool:
        easy = mails(prompt)[-1] >= len(TRAIN) or mails(prompt)[-1] % 3 == 0
        return demos(prompt) >= 2 and (easy or "Take care." in prompt)

    program = compiled(answered(right), monkeypatch)
    (predictor,) = program.predictors()
    assert predictor.signature.instructions == "Answer."
    assert len(predictor.demos) >= 2
    assert [o.changed for o in program.detailed_results.outcomes] == [False, True]


def test_all_predictors_of_a_run_that_was_right_get_demos(monkeypatch: pytest.MonkeyPatch) -> None:
    def right(prompt: str) -> bool:
        notes = re.findall(r"fine (\d+)", prompt)
        return len(notes) >= 3 or notes[-1].startswith("1")

    reply = {"note": lambda p: f"fine {mails(p)[-1]}", **answered(right)}
    program = compiled(reply, monkeypatch, Pair())
    note, answer = program.predictors()
    assert len(note.demos) == len(answer.demos) >= 2
    assert [d.note for d in note.demos] == [d.text for d in answer.demos]


def test_a_compile_that_was_stopped_goes_on_to_the_same_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def right(prompt: str) -> bool:
        return demos(prompt) >= 2 and (len(prompt) % 2 == 0 or "Take care." in prompt)

    def texts(program: dspy.Module) -> Any:
        (predictor,) = program.predictors()
        return predictor.signature.instructions, [d.text for d in predictor.demos]

    whole = compiled(answered(right), monkeypatch)
    stopped = {"callback": lambda event: True, "log_dir": tmp_path}
    compiled(answered(right), monkeypatch, **stopped)
    assert texts(compiled(answered(right), monkeypatch, log_dir=tmp_path)) == texts(whole)


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="demos must be 'keep' or 'search', not 4"):
        GreaterTeleprompter(metric=lambda e, p: 1.0, demos=4)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "found"), [(1, 0), (2, 1), (3, 1)])
def test_a_few_examples_do(monkeypatch: pytest.MonkeyPatch, count: int, found: int) -> None:
    monkeypatch.setattr("tests.test_demos.TRAIN", DATA[:count])
    program = compiled(answered(lambda p: demos(p) >= 1), monkeypatch)
    (predictor,) = program.predictors()
    assert len(predictor.demos) == found  # who shows all has nothing left to race on
