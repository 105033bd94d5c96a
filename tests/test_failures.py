"""What fails in a run: the user hears of it, and it costs the program that ran alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dspy
import pytest

from dspy_greater import DetailedResults, VerifiedConfig
from dspy_greater.model import ContextError
from dspy_greater.program import MetricError, TooManyErrorsError
from examples.published_schedule import PaperConfig
from tests.support.bad_input import LONG, QA, program
from tests.support.compiling import (
    PAPER,
    START,
    VERIFIED,
    configured,
    examples,
    lm,
    lm_of,
    metric,
    small,
)
from tests.support.scripted import chat, number, one_right, play
from tests.support.targets import Adder, target

__all__ = ["configured", "lm"]

Odd = Callable[[dspy.Example, dspy.Prediction], Any]
RIGHT = chat({"answer": lambda prompt: str(number(prompt) + 3)})
#: A search that asks the scripted model for one instruction.
ASKED = replace(VERIFIED, asked=1)
#: A search in which two instructions race the user's.
RACE = VerifiedConfig(
    max_steps=1, instructions=("Be bad.", "Be good."), library=False, examples=0, asked=0, starts=0
)


class Moody(dspy.Module):
    """It answers right under the instruction "Be good." alone, and says what it was told."""

    def __init__(self, bad: Callable[[str], dspy.Prediction] | None = None) -> None:
        super().__init__()
        self.predict = dspy.Predict(QA)
        self.bad = bad

    def forward(self, question: str) -> dspy.Prediction:
        told = self.predict.signature.instructions
        if told == "Be bad." and self.bad is not None:
            return self.bad(question)
        answer = str(int(question.split()[2]) + 3) if told == "Be good." else "?"
        return dspy.Prediction(answer=answer, told=told)


def raced(student: dspy.Module, judge: Odd = metric, **knobs: Any) -> DetailedResults:
    optimizer = small(metric=judge, schedule=RACE, **knobs)
    compiled = optimizer.compile(student, trainset=examples(5), valset=examples(26)[6:])
    record: DetailedResults = compiled.detailed_results
    return record


# What fails under the user's own program.


def no_such_field(example: dspy.Example, prediction: dspy.Prediction) -> bool:
    return bool(example.gold == prediction.answer)


class Typo(dspy.Module):
    """A program that calls what is not there."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(QA)

    def forward(self, question: str) -> dspy.Prediction:
        return self.predct(question=question)


class Misread(Typo):
    """A program that takes a field from its prediction that is not there."""

    def forward(self, question: str) -> dspy.Prediction:
        return dspy.Prediction(answer=self.predict(question=question).anwser)


@pytest.mark.parametrize(
    ("student", "judge", "cause", "words"),
    [
        (program(), no_such_field, AttributeError, "gold"),
        (program(), lambda e, p: {"3": 1.0}[p.answer + "!"], KeyError, "3!"),
        (program(), lambda e, p: float("none"), ValueError, "could not convert"),
        (Typo(), metric, AttributeError, "predct"),
        (Misread(), metric, AttributeError, "anwser"),
    ],
    ids=["no such field", "a key", "a conversion", "a typo", "a field of the prediction"],
)
@pytest.mark.parametrize("count", [2, 5])
def test_what_fails_in_every_run_is_raised_with_its_cause(
    count: int,
    student: dspy.Module,
    judge: Odd,
    cause: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play(monkeypatch, RIGHT)
    with pytest.raises(TooManyErrorsError, match=r"(?s)examples failed.*on Example.*What is") as it:
        small(metric=judge).compile(student, trainset=examples(count))
    assert words in str(it.value)
    assert type(it.value.__cause__) is cause


def test_what_fails_in_some_runs_is_logged_once_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play(monkeypatch, RIGHT)

    def fragile(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if example.answer == "4":
            raise LookupError("no fours")
        return 1 / (int(example.answer) - 5) and 0.5

    with caplog.at_level(logging.INFO):
        record = (
            small(metric=fragile, schedule=ASKED)
            .compile(program(), trainset=examples(5), valset=examples(9)[1:])
            .detailed_results
        )
    runs = len([c for c in record.candidates if len(c.train_scores) == 5])
    assert record.errors.keys() == {"LookupError", "ZeroDivisionError"}
    assert record.errors["LookupError"] >= runs + 1  # the valset has one, too
    first = [text for text in caplog.messages if text.startswith("a run failed")]
    assert len(first) == 1
    assert "What is" in first[0]
    counts = ", ".join(f"{count} {kind}" for kind, count in record.errors.items())
    told = f"{sum(record.errors.values())} of {record.total_calls} runs failed and counted as wrong"
    assert f"{told}: {counts}" in record.summary()
    assert DetailedResults.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_a_fault_in_the_valset_alone_is_raised_before_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = play(monkeypatch, RIGHT)
    valset = [dspy.Example(question=e.question).with_inputs("question") for e in examples(9)[6:]]
    with pytest.raises(TooManyErrorsError, match="3 of 3 examples failed"):
        small().compile(program(), trainset=examples(4), valset=valset)
    assert len(prompts) == 4 + 3


# What fails under another program.


def raises(question: str) -> dspy.Prediction:
    raise RuntimeError("the parser gave up")


def says(answer: Any) -> Callable[[str], dspy.Prediction]:
    return lambda question: dspy.Prediction(answer=answer)


@pytest.mark.parametrize(
    ("bad", "judge", "kind"),
    [
        (raises, metric, "RuntimeError"),
        (lambda question: None, metric, "AttributeError"),
        (says("x"), lambda e, p: None if p.answer == "x" else metric(e, p), "MetricError"),
        (says("x"), lambda e, p: float("nan") if p.answer == "x" else metric(e, p), "MetricError"),
        (says("x"), lambda e, p: "yes" if p.answer == "x" else metric(e, p), "MetricError"),
        (says("x"), lambda e, p: 37 if p.answer == "x" else metric(e, p), "ScaleError"),
        (says(0), lambda e, p: metric(e, p) / 1 if p.answer else 1 / p.answer, "ZeroDivisionError"),
        (says(None), lambda e, p: len(p.answer) > 0 and metric(e, p), "TypeError"),
    ],
    ids=["program", "nothing", "None", "NaN", "text", "scale", "division", "length"],
)
@pytest.mark.parametrize("max_errors", [None, 1])
def test_what_a_candidate_fails_at_costs_that_candidate(
    max_errors: int | None, bad: Callable[[str], dspy.Prediction], judge: Odd, kind: str
) -> None:
    record = raced(Moody(bad), judge, max_errors=max_errors)
    scores = {each.instruction: each.train_score for each in record.candidates}
    assert scores == {START: 0.0, "Be bad.": 0.0, "Be good.": 1.0}
    assert record.outcomes[0].after == "Be good."
    assert record.errors == {kind: 5}


def test_what_a_candidate_fails_at_on_validation_examples_costs_it_there() -> None:
    def judge(example: dspy.Example, prediction: dspy.Prediction) -> float:
        if prediction.told == "Be good." and int(example.answer) > 8:
            raise ValueError("too large")
        return metric(example, prediction)

    record = raced(Moody(), judge)
    assert record.outcomes[0].after == START
    assert record.errors == {"ValueError": 20}


def test_half_a_character_in_an_answer_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda prompt: '{"answer": "5\\ud83d"}')
    with dspy.context(adapter=dspy.JSONAdapter()):
        compiled = small(metric=lambda e, p: p.answer[0] == e.answer, schedule=ASKED).compile(
            program(), trainset=examples()
        )
    assert not compiled.detailed_results.errors
    assert compiled.detailed_results.outcomes[0].steps == 1


def test_a_scale_beyond_1_under_the_users_program_is_for_the_user_to_mend() -> None:
    with pytest.raises(MetricError, match="divide by the best possible score"):
        raced(Moody(), lambda e, p: 100 * (e.answer == "4"))


# Examples that no model has room for.


def test_examples_that_are_too_long_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = play(monkeypatch, RIGHT)

    def label(example: dspy.Example, name: str) -> dict[str, str]:
        return {"answer": "label " + example.answer}

    valset = [*examples(9)[6:], LONG]
    optimizer = small(schedule=ASKED, label_fn=label, perfect_score=None)
    record = optimizer.compile(
        program(), trainset=[LONG, *examples(3), LONG], valset=valset
    ).detailed_results
    assert (record.train_examples, record.validation_examples) == (3, 3)
    assert record.too_long == {"training": 2, "validation": 1}
    assert record.candidates[0].train_scores == [1.0] * 3
    assert record.candidates[0].validation_scores == [1.0] * 3
    assert not record.errors
    assert "2 of 5 training examples are too long and left out: the prompt of" in caplog.text
    assert "1 of 4 validation examples are too long and left out" in caplog.text
    left_out = "too long for the model's context and left out: 2 training and 1 validation examples"
    assert left_out in record.summary()
    assert not any("why why" in prompt for prompt in prompts)


@pytest.mark.parametrize(
    ("trainset", "valset", "words"),
    [
        ([*examples(2), LONG, LONG, LONG], examples(), "3 of 5 training examples"),
        (examples(), [LONG], "1 of 1 validation examples"),
        (examples(), [LONG, *examples(9)[7:], LONG, LONG], "3 of 5 validation examples"),
        ([LONG, LONG], None, "1 of 1 training examples"),
    ],
    ids=["training", "the only one", "validation", "split"],
)
def test_a_split_that_is_mostly_too_long_is_refused(
    trainset: list[dspy.Example],
    valset: list[dspy.Example] | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompts = play(monkeypatch, RIGHT)
    with pytest.raises(ContextError, match=f"{words} are too long.*context of 2048"):
        small().compile(program(), trainset=trainset, valset=valset)
    assert not prompts


@pytest.mark.parametrize("where", ["local", "elsewhere"])
def test_validation_examples_need_only_fit_what_verifies(
    where: str, lm: dspy.LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, RIGHT)
    roomy = lm_of(max_position_embeddings=16384) if where == "local" else target(Adder())
    valset = [LONG.copy(question="why " * 3000 + "What is 4 + 3?"), *examples(8)[6:]]
    record = (
        small(schedule=ASKED, lm=lm, target_lm=roomy)
        .compile(program(), trainset=[LONG, *examples(3)], valset=valset)
        .detailed_results
    )
    assert record.too_long == {"training": 1, "validation": 0}
    assert record.candidates[0].validation_scores == [1.0] * 3


def test_what_is_too_long_in_the_middle_of_a_program_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wordy(dspy.Module):
        """It asks at length about a question."""

        def __init__(self) -> None:
            super().__init__()
            self.predict = dspy.Predict("text -> answer")

        def forward(self, question: str) -> dspy.Prediction:
            return self.predict(text=question + " why" * 3000 * ("1 + 3" in question))

    play(monkeypatch, RIGHT)
    record = (
        small(schedule=ASKED, perfect_score=None)
        .compile(Wordy(), trainset=examples(3), valset=examples(9)[6:])
        .detailed_results
    )
    assert sorted(record.candidates[0].train_scores) == [0.0, 1.0, 1.0]
    assert record.errors.keys() == {"ContextWindowExceededError"}


# Answers that cannot be read.

HOPELESS = "no answer of any program could be read and scored"


@pytest.mark.parametrize("schedule", [VERIFIED, PAPER, PaperConfig(max_steps=5)])
@pytest.mark.parametrize(
    ("outputs", "answer"), [(str, "No fields."), (int, "many"), (str, "")], ids=repr
)
def test_where_nothing_can_be_read_it_is_said_at_once_and_the_search_ends_after_a_step(
    outputs: Any,
    answer: str,
    schedule: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    play(monkeypatch, lambda prompt: answer)
    trainset = [example.copy(answer=int(example.answer)) for example in examples()]
    compiled = small(schedule=schedule, progress=True).compile(
        program(outputs=outputs), trainset=trainset if outputs is int else examples()
    )
    record = compiled.detailed_results
    (outcome,) = record.outcomes
    assert (outcome.steps, outcome.stopped) == (1, HOPELESS)
    lines = capsys.readouterr().err.splitlines()
    (said,) = (index for index, line in enumerate(lines) if "answers could be read" in line)
    assert lines[said].startswith("0 of 4 answers could be read, for instance not: AdapterParseErr")
    assert answer in lines[said]
    assert "dspy.JSONAdapter()" in lines[said]
    assert said < next(index for index, line in enumerate(lines) if line.startswith("self: step 1"))


def test_answers_that_another_instruction_makes_readable_are_searched_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def reply(prompt: str) -> str:
        return "Hm." if START in prompt else RIGHT(prompt)

    play(monkeypatch, reply)
    compiled = small(schedule=ASKED).compile(
        program(), trainset=examples(), valset=examples(26)[6:]
    )
    assert compiled.detailed_results.improved
    assert caplog.text.count("0 of 6 answers could be read, for instance not") == 1
    assert HOPELESS not in compiled.detailed_results.summary()


def test_a_few_answers_that_cannot_be_read_are_said_without_advice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play(
        monkeypatch,
        lambda prompt: "Hm." if number(prompt) == 2 else chat({"answer": one_right})(prompt),
    )
    small(schedule=ASKED).compile(program(), trainset=examples(5), valset=examples(9)[6:])
    (line,) = (text for text in caplog.messages if "answers could be read" in text)
    assert line.startswith("4 of 5 answers could be read")
    assert "LM Response: Hm." in line
    assert "max_tokens" not in line


def test_readable_answers_are_not_spoken_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    play(monkeypatch, RIGHT)
    small(schedule=ASKED).compile(program(), trainset=examples())
    assert "could be read" not in caplog.text


def test_every_predictor_has_its_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(dspy.Module):
        """It asks for a query first."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = dspy.Predict("question -> query"), program()

        def forward(self, question: str) -> dspy.Prediction:
            return self.second(question=self.first(question=question).query)

    play(monkeypatch, lambda prompt: "Hm.")
    record = small(schedule=VERIFIED).compile(Two(), trainset=examples()).detailed_results
    assert [(each.steps, each.stopped) for each in record.outcomes] == [(1, HOPELESS)] * 2
