"""Bad datasets are told apart before anything runs."""

from __future__ import annotations

import dspy
import pytest

from dspy_greater.program import DataError, ProgramError
from dspy_greater.program.data import check_dataset

GOOD = dspy.Example(question="1+1?", answer="2").with_inputs("question")
PROGRAM = dspy.ChainOfThought("question -> answer")


class Explicit(dspy.Module):
    def __init__(self):
        super().__init__()
        self.qa = dspy.Predict("question, context -> answer")

    def forward(self, question, hint=None):
        return self.qa(question=question, context=hint)


@pytest.mark.parametrize("program", [PROGRAM, Explicit(), dspy.Predict("question -> answer")])
def test_good_examples_pass(program):
    check_dataset("trainset", [GOOD, GOOD.copy(extra=1)], program)
    check_dataset("trainset", (GOOD,), program)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "trainset is empty: give at least one example"),
        (None, r"trainset is a NoneType: give a list of dspy\.Example"),
        ((example for example in [GOOD]), "trainset is a generator"),
        ([GOOD, {"question": "?"}], r"trainset\[1\] is a dict, not a dspy\.Example"),
        ([dspy.Prediction(answer="2")], r"trainset\[0\] is a Prediction"),
        ([GOOD, dspy.Example(question="?")], r"trainset\[1\] does not say .* \.with_inputs\("),
        ([dspy.Example(text="?").with_inputs("question")], r"\[0\] has no input among .*'text'"),
        ([dspy.Example(text="?").with_inputs("text")], r"\[0\] has no input 'question'"),
    ],
)
def test_each_fault_names_the_example_and_the_mending(examples, message):
    with pytest.raises(DataError, match=message):
        check_dataset("trainset", examples, PROGRAM)


def test_inputs_are_compared_with_the_arguments_of_forward():
    example = dspy.Example(query="?", answer="2").with_inputs("query")
    with pytest.raises(DataError, match=r"valset\[0\] .* Explicit cannot be called"):
        check_dataset("valset", [example], Explicit())


def test_optional_inputs_may_be_missing():
    class Signature(dspy.Signature):
        question: str = dspy.InputField()
        tone: str = dspy.InputField(default="kind")
        answer: str = dspy.OutputField()

    check_dataset("trainset", [GOOD], dspy.Predict(Signature))


def test_the_program_is_looked_at_first():
    with pytest.raises(ProgramError, match=r"not a dspy\.Module"):
        check_dataset("trainset", [GOOD], None)
