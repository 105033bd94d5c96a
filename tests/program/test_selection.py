"""Which predictors are optimized, and what is said where they cannot be."""

from __future__ import annotations

from typing import Annotated, Any

import dspy
import pytest
from dspy.experimental import Choice, Noul

from dspy_greater.program import DataError, ProgramError
from dspy_greater.program.predictors import predictors_of
from dspy_greater.program.selection import select

QA = [dspy.Example(question="1+1?", answer="2").with_inputs("question")]


class TwoHops(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.search = dspy.Predict("question -> query")
        self.answer = dspy.ChainOfThought("question, query -> answer")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def chosen(
    program: dspy.Module, selector: Any = None, **options: Any
) -> tuple[list[str], list[str]]:
    found, left_out = select(program, predictors_of(program, QA), selector, **options)
    return [predictor.name for predictor in found], left_out


def test_all_are_optimized_in_the_programs_order() -> None:
    assert chosen(TwoHops()) == (["search", "answer.predict"], [])


def test_where_labels_are_needed_the_others_are_left_out() -> None:
    assert chosen(TwoHops(), labelled=True) == (["answer.predict"], ["search"])


@pytest.mark.parametrize(
    "selector", [["search"], ("search",), lambda names: [n for n in names if "answer" not in n]]
)
def test_some_may_be_chosen_by_name_and_the_others_are_frozen(selector: Any) -> None:
    assert chosen(TwoHops(), selector) == (["search"], ["answer.predict"])


class Helper(dspy.Module):
    """An agent that is not DSPy's: nobody knows where its list of tools begins."""

    def __init__(self) -> None:
        super().__init__()
        self.tools = {"add": dspy.Tool(add)}
        self.act = dspy.Predict(dspy.Signature("question -> answer", "Answer; you may call add."))


class Both(dspy.Module):
    def __init__(self, signature: Any) -> None:
        super().__init__()
        self.first = dspy.Predict(signature)
        self.second = dspy.Predict("question -> answer")


class Router(dspy.Module):
    """Predictors in a list, a dict and another module, one of them in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.router = dspy.Predict("question -> route")
        self.experts = [dspy.Predict("question -> answer"), dspy.Predict("question -> answer")]
        self.by_route = {"near": dspy.Predict("question -> answer"), "far": self.experts[0]}
        self.hops = TwoHops()


EVERY = [
    "router",
    "experts[0]",
    "experts[1]",
    "by_route['near']",
    "hops.search",
    "hops.answer.predict",
]


@pytest.mark.parametrize("selector", [None, EVERY, lambda names: names])
def test_predictors_in_lists_dicts_and_modules_are_found_and_shared_ones_once(
    selector: Any,
) -> None:
    assert chosen(Router(), selector) == (EVERY, [])


@pytest.mark.parametrize("name", EVERY)
def test_each_may_be_frozen_by_name(name: str) -> None:
    others = [each for each in EVERY if each != name]
    assert chosen(Router(), frozen=[name]) == (others, [name])
    assert chosen(Router(), lambda names: names, frozen=(name,)) == (others, [name])
    assert chosen(Router(), lambda names: [n for n in names if n != name]) == (others, [name])
    assert chosen(Router(), [name]) == ([name], others)


@pytest.mark.parametrize(
    ("selector", "frozen", "message"),
    [
        (None, ["ruoter"], "frozen names 'ruoter'.*'router', "),
        (None, "router", r"write \['router'\]"),
        (None, EVERY, "every chosen predictor is frozen.*take one of 'router', "),
        (["router"], ["router"], "both name 'router'"),
        (lambda names: names[:1], ["router"], "every chosen .* is frozen.*take one of 'router'"),
    ],
)
def test_a_mistaken_freeze_says_what_there_is(selector: Any, frozen: Any, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        chosen(Router(), selector, frozen=frozen)


def test_the_agents_of_dspy_are_optimized_like_any_other() -> None:
    agent = dspy.ReAct("question -> answer", tools=[add])
    assert chosen(agent) == (["react", "extract.predict"], [])


def test_the_tools_of_another_agent_are_not_touched() -> None:
    program = TwoHops()
    program.helper = Helper()
    assert chosen(program) == (["search", "answer.predict"], ["helper.act"])
    with pytest.raises(
        ProgramError, match=r"'helper.act' lists the tools .*leave it out of predictors"
    ):
        chosen(program, ["helper.act"])
    with pytest.raises(ProgramError, match=r"no predictor is left to optimize: .*'act' lists"):
        chosen(Helper())


@pytest.mark.parametrize(
    "annotation", [Noul, Choice["a", "b"], Annotated[bool, Noul[(True, "it is so"),]]]
)
def test_decision_types_have_no_answer_to_learn_from(annotation: Any) -> None:
    signature = dspy.Signature(
        {"question": (str, dspy.InputField()), "verdict": (annotation, dspy.OutputField())}
    )
    assert chosen(Both(signature)) == (["second"], ["first"])
    with pytest.raises(ProgramError, match=r"'verdict' of predictor 'first'.*plain type"):
        chosen(Both(signature), ["first"])


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        (["serach"], "predictors names 'serach'.*'search', 'answer.predict'"),
        (lambda names: ["none"], "predictors names 'none'"),
        ([], "predictors is empty"),
        (lambda names: [], "predictors is empty"),
        ("search", r"write \['search'\]"),
    ],
)
def test_a_mistaken_choice_says_what_there_is(selector: Any, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        chosen(TwoHops(), selector)


def test_a_name_without_a_label_is_refused_where_labels_are_needed() -> None:
    with pytest.raises(DataError, match=r"'search' is labelled.*schedule='verified'"):
        chosen(TwoHops(), ["search"], labelled=True)


def test_without_any_label_the_error_lists_the_outputs() -> None:
    program = dspy.Predict("question -> solution")
    assert chosen(program) == (["self"], [])
    with pytest.raises(DataError, match=r"self: \['solution'\].*schedule='verified'"):
        chosen(program, labelled=True)
