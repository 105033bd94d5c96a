"""Every predictor is found; new instructions go into copies only."""

from __future__ import annotations

import threading

import dspy
import pytest
from dspy.utils import DummyLM

from dspy_greater.program import InstructionError, ProgramError, call_of
from dspy_greater.program.predictors import copy_program, predictors_of, replace_instruction


class TwoHops(dspy.Module):
    def __init__(self):
        super().__init__()
        self.search = dspy.Predict("question -> query")
        self.answer = dspy.ChainOfThought("question, query -> answer")
        self.same = self.search

    def forward(self, question):
        query = self.search(question=question).query
        return self.answer(question=question, query=query)


QA = [dspy.Example(question="1+1?", answer="2").with_inputs("question")]


class Uncopyable(DummyLM):
    def __deepcopy__(self, memo):
        raise AssertionError("a language model was copied")


def test_every_predictor_is_found_with_or_without_labels():
    program = TwoHops()
    search, answer = predictors_of(program, QA)
    assert (search.name, search.label_fields) == ("search", ())
    assert answer.name == "answer.predict"
    assert answer.module is program.answer.predict
    assert answer.label_fields == ("answer",)


def test_labels_of_an_inner_predictor_are_found():
    search, _ = predictors_of(TwoHops(), [QA[0].copy(query="sum").with_inputs("question")])
    assert search.label_fields == ("query",)


def test_an_input_is_no_label():
    examples = [dspy.Example(question="?", answer="2").with_inputs("question", "answer")]
    (predictor,) = predictors_of(dspy.Predict("question -> answer"), examples)
    assert predictor.label_fields == ()


def test_a_bare_predictor_is_called_self():
    (predictor,) = predictors_of(dspy.Predict("question -> answer"), QA)
    assert predictor.name == "self"


@pytest.mark.parametrize("field", ["reasoning", "rationale"])
def test_worked_solutions_in_the_dataset_do_not_replace_the_models_reasoning(field):
    program = dspy.Predict(f"question -> {field}, answer")
    examples = [dspy.Example(question="?", answer="2", **{field: "1+1"}).with_inputs("question")]
    (predictor,) = predictors_of(program, examples)
    assert predictor.label_fields == ("answer",)


def test_compiled_programs_are_frozen():
    program = dspy.ChainOfThought("question -> answer")
    outer = TwoHops()
    outer.answer = program
    program._compiled = True
    assert [predictor.name for predictor in predictors_of(outer, QA)] == ["search"]


def test_what_is_no_program_is_told_apart():
    class Empty(dspy.Module):
        def forward(self):
            return None

    with pytest.raises(ProgramError, match=r"no dspy\.Predict"):
        predictors_of(Empty(), QA)
    with pytest.raises(ProgramError, match=r"not a dspy\.Module"):
        predictors_of(len, QA)
    with pytest.raises(ProgramError, match=r"create it first, TwoHops\(\.\.\.\)"):
        predictors_of(TwoHops, QA)


def test_a_direct_call_has_the_examples_inputs_the_defaults_and_the_demos():
    class Polite(dspy.Signature):
        question: str = dspy.InputField()
        tone: str = dspy.InputField(default="kind")
        answer: str = dspy.OutputField()

    program = dspy.Predict(Polite)
    program.demos = [{"question": "0?", "answer": "0"}]
    (predictor,) = predictors_of(program, QA)
    call = call_of(predictor, QA[0])
    assert call.inputs == {"question": "1+1?", "tone": "kind"}
    assert call.demos == program.demos
    assert call.signature is program.signature


def configured_program() -> TwoHops:
    program = TwoHops()
    program.answer.predict.lm = Uncopyable([{"answer": "2", "reasoning": "r"}])
    program.answer.predict.demos = [dspy.Example(question="0?", query="q", answer="0")]
    program.answer.predict.config = {"temperature": 0.5}
    program.helpers = {"judge": [Uncopyable([])]}
    return program


def test_the_student_keeps_its_instruction():
    program = configured_program()
    before = program.answer.predict.signature
    replace_instruction(program, {"answer.predict": "Think."})
    assert program.answer.predict.signature is before


@pytest.mark.parametrize("compiled", [False, True])
def test_everything_but_the_instruction_is_kept(compiled):
    program = configured_program()
    program._compiled = compiled
    twin = replace_instruction(program, {"answer.predict": "Think."})
    old, new = program.answer.predict, twin.answer.predict
    assert new.signature.instructions == "Think."
    assert new.signature.fields.keys() == old.signature.fields.keys()
    assert twin.search.signature.instructions == program.search.signature.instructions
    assert twin.same is twin.search
    assert twin._compiled is compiled
    assert new.lm is old.lm
    assert twin.helpers["judge"][0] is program.helpers["judge"][0]
    assert new.demos == old.demos
    assert new.demos[0] is not old.demos[0]
    assert new.config == old.config
    assert new.stage == old.stage


def test_language_models_of_compiled_programs_are_not_copied():
    program = configured_program()
    program.answer._compiled = True
    twin = replace_instruction(program, {"search": "Find."})
    assert twin.answer.predict.lm is program.answer.predict.lm
    assert twin.answer._compiled


def test_a_program_that_holds_a_lock_is_copied_all_the_same():
    program = configured_program()
    program.lock = threading.Lock()
    program.more = {"tools": [chain := dspy.ChainOfThought("question -> answer")]}
    chain.lock = program.lock
    names = [name for name, _ in program.named_predictors()]

    twin = replace_instruction(program, dict.fromkeys(names, "Think."))

    assert twin.lock is program.lock
    assert twin.same is twin.search
    assert twin.answer.predict.lm is program.answer.predict.lm
    assert twin.answer.predict.demos == program.answer.predict.demos
    assert [p.signature.instructions for p in twin.predictors()] == ["Think."] * len(names)
    assert "Think." not in [p.signature.instructions for p in program.predictors()]


def test_a_bare_predictor_gets_a_new_instruction():
    program = dspy.Predict("question -> answer")
    twin = replace_instruction(program, {"self": "Think."})
    assert twin.signature.instructions == "Think."
    assert program.signature.instructions != "Think."


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError, match=r"no predictor 'nope', only \['answer.predict', 'search'\]"):
        replace_instruction(TwoHops(), {"nope": "Think."})


def test_a_text_that_would_not_survive_is_an_error():
    with pytest.raises(InstructionError, match="is empty"):
        replace_instruction(TwoHops(), {"search": ""})


def test_the_copy_saves_and_loads(tmp_path):
    program = TwoHops()
    twin = replace_instruction(program, {"search": "Find.", "answer.predict": "Think.\nThen say."})
    twin.save(tmp_path / "program.json")
    program.load(tmp_path / "program.json")
    assert program.answer.predict.signature.instructions == "Think.\nThen say."
    assert copy_program(program).search.signature.instructions == "Find."
