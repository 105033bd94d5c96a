"""Predictors that no run calls are left alone, and each change of a program earns its place."""

from __future__ import annotations

import re
from typing import Any

import dspy
import pytest

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from dspy_greater.cost import Budget
from tests.support.scripted import chat, play
from tests.support.tiny import make_model, make_tokenizer

CONFIG = VerifiedConfig(
    max_steps=2, asked=0, starts=0, library=False, examples=0, instructions=("Take care.", "Guess.")
)


class Mail(dspy.Module):
    """Answers, writes a note for the log that nobody reads, and might refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.note = dspy.Predict(dspy.Signature("text -> note", "Write a note, in French."))
        self.answer = dspy.Predict(dspy.Signature("text -> answer", "Answer."))
        self.refuse = dspy.Predict(dspy.Signature("text -> refusal", "Never name a customer."))

    def forward(self, text: str) -> dspy.Prediction:
        return dspy.Prediction(note=self.note(text=text).note, answer=self.answer(text=text).answer)


class Pair(Mail):
    """Hands what the first predictor wrote on to the second."""

    def forward(self, text: str) -> dspy.Prediction:
        return self.answer(text=self.note(text=text).note)


def compiled(
    program: dspy.Module,
    reply: Any,
    monkeypatch: pytest.MonkeyPatch,
    train: int = 8,
    **knobs: Any,
) -> dspy.Module:
    play(monkeypatch, chat(reply))
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer), max_position_embeddings=8192)
    mails = [f"mail {i}" for i in range(train + 12)]
    data = [dspy.Example(text=mail, gold="yes").with_inputs("text") for mail in mails]
    settings = {"schedule": CONFIG, "progress": False, **knobs}
    with dspy.context(lm=local_lm((model, tokenizer), cache=False)):
        return GreaterTeleprompter(
            lambda example, prediction, trace=None: prediction.answer == example.gold, **settings
        ).compile(program, trainset=data[:train], valset=data[train:])


def instructions(program: dspy.Module) -> dict[str, str]:
    return {name: each.signature.instructions for name, each in program.named_predictors()}


def careful(prompt: str) -> str:
    return "yes" if "Take care." in prompt else "no"


def test_what_no_run_calls_and_what_the_metric_does_not_see_stay_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reply = {"note": lambda p: f"note {len(p)}", "answer": careful}
    program = compiled(Mail(), reply, monkeypatch)
    assert instructions(program) == {**instructions(Mail()), "answer": "Take care."}
    record = program.detailed_results
    assert {o.predictor: (o.changed, o.put_back) for o in record.outcomes} == {
        "note": (False, True),
        "answer": (True, False),
        "refuse": (False, False),
    }
    told = record.summary().splitlines()
    assert sum("refuse" in line for line in told) == 1
    assert "refuse: kept as it was; no run on a training example called it" in told
    assert "note: kept as it was; the program is not surely worse without its change" in told
    assert not any(c.predictor == "refuse" and c.kind != "start" for c in record.candidates)


def test_what_bounds_do_not_pay_for_is_not_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "left", lambda self: 11.0)  # of twelve validation examples
    reply = {"note": lambda p: f"note {len(p)}", "answer": careful}
    record = compiled(Mail(), reply, monkeypatch).detailed_results
    assert record.outcomes[0].together == ["note", "answer"]


def test_changes_that_help_only_together_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(prompt: str) -> str:
        return "yes" if careful(prompt) == "yes" and "fine" in prompt else "no"

    reply = {"note": lambda p: "fine" if careful(p) == "yes" else "bad", "answer": answer}
    program = compiled(Pair(), reply, monkeypatch)
    now = instructions(program)
    assert (now["note"], now["answer"]) == ("Take care.", "Take care.")
    assert program.detailed_results.outcomes[0].together == ["note", "answer"]


def test_of_changes_of_which_each_does_it_alone_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {
        "note": lambda p: "fine" if careful(p) == "yes" else "bad",
        "answer": lambda p: "yes" if careful(p) == "yes" or "fine" in p else "no",
    }
    record = compiled(Pair(), reply, monkeypatch).detailed_results
    assert sum(outcome.changed for outcome in record.outcomes) == 1
    assert sum(outcome.put_back for outcome in record.outcomes) == 1


def test_a_predictor_whose_answers_are_never_readable_is_not_taken_for_one_that_is_not_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readable = chat({"note": "fine", "answer": "yes", "refusal": ""})
    play(monkeypatch, lambda p: readable(p) if "`note`" in p or "Take care." in p else "?")
    monkeypatch.setattr("tests.test_changes_earn_their_place.play", lambda *_: [])
    program = compiled(Mail(), {}, monkeypatch)
    assert instructions(program) == {**instructions(Mail()), "answer": "Take care."}


def test_what_a_branch_calls_on_some_examples_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Branch(Mail):
        def forward(self, text: str) -> dspy.Prediction:
            if int(re.findall(r"\d+", text)[0]) % 2:
                return dspy.Prediction(answer=self.refuse(text=text).refusal)
            return self.answer(text=text)

    reply = {"refusal": careful, "answer": "yes"}
    program = compiled(Branch(), reply, monkeypatch)
    assert instructions(program) == {**instructions(Mail()), "refuse": "Take care."}
    assert "note: kept as it was; no run" in program.detailed_results.summary()


def test_a_log_dir_knows_what_was_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    reply = {"note": lambda p: f"note {len(p)}", "answer": careful}
    first, again = (compiled(Mail(), reply, monkeypatch, log_dir=tmp_path) for _ in range(2))
    assert instructions(first) == instructions(again)
    one, two = first.detailed_results, again.detailed_results
    assert (one.outcomes, one.total_calls) == (two.outcomes, two.total_calls)


def test_what_bounds_allow_covers_a_look_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = {"note": lambda p: f"note {len(p)}", "answer": careful}
    record = compiled(Mail(), reply, monkeypatch, max_metric_calls=150).detailed_results
    assert record.total_calls <= 150


def test_what_helps_a_little_is_built_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sentence that comes gets another third right."""

    def reply(prompt: str) -> str:
        number = int(re.findall(r"mail (\d+)", prompt)[-1])
        helps = ["check `answer` once more" in prompt, "briefly" in prompt]
        return "yes" if sum(helps) > number % 3 else "no"

    program = dspy.Predict(dspy.Signature("text -> answer", "Answer."))
    config = VerifiedConfig(max_steps=4, asked=0, starts=0, examples=0)
    found = compiled(program, {"answer": reply}, monkeypatch, schedule=config)
    text = found.signature.instructions
    assert "check `answer` once more" in text
    assert "briefly" in text
    kinds = {c.kind for c in found.detailed_results.candidates if c.accepted}
    assert kinds == {"start", "library"}


@pytest.mark.parametrize(("runs", "looks"), [(None, 3), (100, 3), (80, 2), (60, 1), (44, 1)])
def test_a_verdict_takes_half_of_what_the_start_leaves_at_most_and_one_look_at_least(
    runs: int | None, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are 12 validation examples."""

    def reply(prompt: str) -> str:
        number = int(re.findall(r"mail (\d+)", prompt)[-1])
        return "yes" if number % 5 < prompt.count("!") else "no"

    program = dspy.Predict(dspy.Signature("text -> answer", "Answer."))
    config = VerifiedConfig(
        max_steps=1,
        asked=0,
        starts=0,
        library=False,
        examples=0,
        instructions=("One!", "Two!!", "All!!!!!"),
    )
    found = compiled(
        program, {"answer": reply}, monkeypatch, schedule=config, max_metric_calls=runs
    )
    (outcome,) = found.detailed_results.outcomes
    assert outcome.looks == looks
    assert found.detailed_results.total_calls <= (runs or 999)


def test_all_that_reach_the_end_of_a_race_that_is_cut_short_may_be_validated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There are 40 training examples, of which the bounds let the race run some."""

    def reply(prompt: str) -> str:
        return "yes" if int(re.findall(r"mail (\d+)", prompt)[-1]) % 9 < prompt.count("!") else "no"

    program = dspy.Predict(dspy.Signature("text -> answer", "Answer."))
    own = tuple(f"Number {n}{'!' * n}" for n in range(1, 8))
    config = VerifiedConfig(
        max_steps=1, asked=0, starts=0, library=False, examples=0, instructions=own
    )
    found = compiled(
        program, {"answer": reply}, monkeypatch, train=40, schedule=config, max_metric_calls=200
    )
    record = found.detailed_results
    raced = {c.instruction: len(c.train_scores) for c in record.candidates if c.kind == "given"}
    assert 16 <= max(raced.values()) < 40
    assert record.outcomes[0].looks == 3
    assert found.signature.instructions == own[-1]
    assert record.total_calls <= 200


def test_finalists_are_validated_as_long_as_the_bounds_pay_for_their_dearer_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first has won the race, and was validated with it; there are 12 validation examples."""
    left = iter([30, 12, 11])
    monkeypatch.setattr("dspy_greater.cost.Budget.left", lambda budget: next(left))
    own = ("Number one!", "Number two!", "Number three!")
    config = VerifiedConfig(
        max_steps=1, asked=0, starts=0, library=False, examples=0, instructions=own
    )
    found = compiled(
        dspy.Predict(dspy.Signature("text -> answer", "Answer.")),
        {"answer": lambda prompt: "yes" if "!" in prompt else "no"},
        monkeypatch,
        schedule=config,
        max_metric_calls=500,
    )
    assert found.detailed_results.outcomes[0].looks == 2
    assert next(left, None) is None
