"""Demos: what an example can show of a program, and sets of them as text."""

from __future__ import annotations

import json
import random

import dspy
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.program import Run
from dspy_greater.program.demos import (
    SIZES,
    demo_sets,
    demos_of,
    drawn,
    examples_of,
    shown_by,
    with_demos,
)
from dspy_greater.program.predictors import predictors_of
from dspy_greater.program.runs import PredictorCall

EXAMPLE = dspy.Example(question="2 + 3?", answer="5").with_inputs("question")
DIRECT, REASONED = dspy.Predict("question -> answer"), dspy.ChainOfThought("question -> answer")


def run(score: float, name: str = "self", **outputs: object) -> Run:
    calls = {name: [PredictorCall({"question": "2 + 3?"}, outputs)]} if outputs else {}
    return Run(score, dspy.Prediction(**outputs), calls)


def shown(program: dspy.Module, made: Run, **labels: dspy.Example) -> list[dict[str, object]]:
    predictors = predictors_of(program, [EXAMPLE])
    found = shown_by(predictors, [EXAMPLE], {k: [v] for k, v in labels.items()}, [made])
    return list(found.values())


def test_a_run_that_was_all_right_shows_what_the_program_wrote() -> None:
    own = run(1.0, "predict", reasoning="Two and three.", answer="5")
    values = {"question": "2 + 3?", "reasoning": "Two and three.", "answer": "5"}
    assert shown(REASONED, own) == [{"predict": values}]


def test_the_last_of_several_calls_is_shown() -> None:
    calls = [PredictorCall({"question": str(n)}, {"answer": str(n)}) for n in range(3)]
    (found,) = shown(DIRECT, Run(1.0, None, {"self": calls}))
    assert found == {"self": {"question": "2", "answer": "2"}}


def test_a_failure_shows_the_right_answer_if_all_fields_are_labelled() -> None:
    told = {"self": {"question": "2 + 3?", "answer": "5"}}
    assert shown(DIRECT, run(0.0, answer="6")) == [told]
    assert shown(DIRECT, run(0.5, answer="6")) == [told]
    assert shown(DIRECT, run(0.0)) == [told]
    given = dspy.Example(answer="five")
    assert shown(DIRECT, run(0.0), self=given)[0]["self"] == {
        "question": "2 + 3?",
        "answer": "five",
    }


def test_a_failure_of_a_program_that_reasons_shows_its_reasoning_and_the_right_answer() -> None:
    told = {"question": "2 + 3?", "reasoning": "Six.", "answer": "5"}
    failed = run(0.0, "predict", reasoning="Six.", answer="6")
    assert shown(REASONED, failed) == [{"predict": told}]
    assert list(shown(REASONED, failed)[0]["predict"]) == list(told)  # as the prompt has them
    assert shown(REASONED, run(0.0)) == []  # what could not be read shows no reasoning


def test_a_failure_without_a_label_shows_nothing() -> None:
    failed = run(0.0, "predict", reasoning="Six.", answer="6")
    unlabelled = dspy.Example(note="five")
    assert shown(REASONED, failed, predict=unlabelled) == []


def test_what_json_cannot_keep_is_no_demo() -> None:
    assert shown(DIRECT, run(1.0, answer=object())) == []
    assert shown(DIRECT, run(1.0, answer=(1, 2))) == []  # a list when it comes back
    assert len(shown(DIRECT, run(1.0, answer=[1, 2]))) == 1


@given(st.integers(0, 30), st.integers(0, 9))
def test_sets_are_of_several_sizes_and_tell_whom_they_show(n: int, seed: int) -> None:
    shown = {7 * i: {"self": {"question": str(7 * i), "answer": str(i)}} for i in range(n)}
    sets = demo_sets(shown, 8, random.Random(seed))
    assert len(sets) == len(set(sets)) <= 8
    assert {len(examples_of(text)) for text in sets} == {s for s in SIZES if s <= n}
    for text in sets:
        asked = [int(demo.question) for demo in demos_of(text, "self")]
        assert len(asked) == len(examples_of(text))  # none twice
        assert {*asked} == examples_of(text) <= {*shown}
    assert sets == demo_sets(shown, 8, random.Random(seed))
    assert examples_of("") == set()


def test_sizes_come_by_turns() -> None:
    sizes = [len(sample) for sample in drawn("abcde", (1, 2, 6), 5, random.Random(0))]
    assert sizes == [1, 2, 1, 2]  # five items are too few for six


def test_a_predictor_that_an_example_says_nothing_of_has_no_demo_of_it() -> None:
    shown = {4: {"first": {"a": "1"}}, 5: {"first": {"a": "2"}, "second": {"b": "3"}}}
    text = json.dumps(shown)
    assert [demo.a for demo in demos_of(text, "first")] == ["1", "2"]
    assert [demo.b for demo in demos_of(text, "second")] == ["3"]
    assert all(demo.augmented for demo in demos_of(text, "first"))


def test_a_predictor_with_demos_is_another_one() -> None:
    (predictor,) = predictors_of(DIRECT, [EXAMPLE])
    shown = {0: {"self": {"question": "1?", "answer": "1"}}}
    (text,) = demo_sets(shown, 1, random.Random(0))
    assert [demo.answer for demo in with_demos(predictor, text).module.demos] == ["1"]
    assert predictor.module.demos == []
    assert with_demos(predictor, "") is predictor
