"""DSPy's modules through a compile, with a model that answers by script."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater.program.predictors import predictors_of
from tests.support.compiling import START, configured, examples, lm, small
from tests.support.marks import mostly_slow, slow
from tests.support.scripted import TINY, chat, number, one_right, play

__all__ = ["configured", "lm"]

# A CodeAct hands its trajectory on as it is, and DSPy says so at every call.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("quiet"),
]

QA = dspy.Signature("question -> answer", START)
BETTER = "Use the tools, then answer."


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "dspy.predict.predict")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


class Interpreter:
    """Stands for the sandbox in which generated code runs."""

    def __init__(self) -> None:
        self.tools: dict[str, Callable[..., Any]] = {}

    def start(self) -> None: ...

    def execute(self, code: str, variables: dict[str, Any] | None = None) -> str:
        return "3"

    def shutdown(self) -> None: ...


class Comparison(dspy.Module):
    """Three attempts, and what a comparison makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.attempt = dspy.ChainOfThought(QA)
        self.compare = dspy.MultiChainComparison(QA, M=2)

    def forward(self, question: str) -> dspy.Prediction:
        attempts = [self.attempt(question=question) for _ in range(2)]
        return self.compare(completions=attempts, question=question)


def short(arguments: dict[str, Any], prediction: dspy.Prediction) -> float:
    return float(len(prediction.answer) == 1)


def react() -> dspy.Module:
    return dspy.ReAct(QA, tools=[add], max_iters=3)


def code_act() -> dspy.Module:
    return dspy.CodeAct(QA, tools=[add], interpreter_factory=Interpreter)


#: Each with the fields that its predictors write, and the predictors.
MODULES: dict[str, tuple[Callable[[], dspy.Module], list[str]]] = {
    "MultiChainComparison": (Comparison, ["attempt.predict", "compare.predict"]),
    "ProgramOfThought": (
        lambda: dspy.ProgramOfThought(QA, interpreter_factory=Interpreter),
        ["code_generate.predict", "code_regenerate.predict", "generate_output.predict"],
    ),
    "BestOfN": (
        lambda: dspy.BestOfN(dspy.ChainOfThought(QA), N=2, reward_fn=short, threshold=1.0),
        ["module.predict"],
    ),
    "Refine": (
        lambda: dspy.Refine(dspy.ChainOfThought(QA), N=2, reward_fn=short, threshold=1.0),
        ["module.predict"],
    ),
    "ReAct": (react, ["react", "extract.predict"]),
    "CodeAct": (code_act, ["codeact", "extractor.predict"]),
}
VALUES = {
    "reasoning": "so",
    "rationale": "so",
    "answer": one_right,
    "next_thought": "add them",
    "next_tool_name": lambda prompt: "finish" if "observation_0" in prompt else "add",
    "next_tool_args": lambda p: "{}" if "observation_0" in p else f'{{"a": {number(p)}, "b": 3}}',
    "generated_code": "print(3)",
    "finished": "True",
    "discussion": "so",
    "advice": "{}",
}


@pytest.mark.parametrize("name", mostly_slow(MODULES, "BestOfN"))
def test_modules_of_dspy_go_through_compile(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(dspy, name):
        pytest.skip(f"this DSPy has no {name}")
    make, predictors = MODULES[name]
    play(monkeypatch, chat(VALUES))
    compiled = small(schedule=TINY).compile(make(), trainset=examples(4), valset=examples(6)[4:])
    record = compiled.detailed_results
    assert [outcome.predictor for outcome in record.outcomes] == predictors
    assert record.left_out == []
    assert record.parse_failures == 0
    # One question is answered right, so the values did arrive.
    assert sorted(record.candidates[0].train_scores) == [0.0, 0.0, 0.0, 1.0]
    # ProgramOfThought never had to write its code anew, so nothing is known about that predictor.
    idle = {"code_regenerate.predict"}
    assert {c.predictor for c in record.candidates if c.step} >= set(predictors) - idle


@pytest.mark.parametrize(("make", "name"), [slow((react, "react")), (code_act, "codeact")])
def test_an_agents_own_part_of_the_instruction_is_kept_to_the_letter(
    make: Callable[[], dspy.Module],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    agent = make()
    whole = agent.named_predictors()[0][1].signature.instructions
    fixed = whole.removeprefix(START)
    assert "(1) add, whose description is <desc>Add two numbers.</desc>." in fixed

    def answer(prompt: str) -> str:
        return str(number(prompt) + 3) if BETTER in prompt else "0"

    # The agent's own predictor decides: the answer is right where its instruction is the better.
    values = {**VALUES, "next_thought": answer, "generated_code": answer}
    decided = re.compile(r"(?:thought|generated_code)_0 ## \]\]\n(\d+)")
    values["answer"] = lambda prompt: decided.findall(prompt)[-1]
    prompts = play(monkeypatch, chat(values))
    compiled = small(
        schedule=replace(TINY, instructions=(BETTER,)),
        predictors=[name],
        confidence=0.5,
    ).compile(agent, trainset=examples(20))

    (outcome,) = compiled.detailed_results.outcomes
    assert (outcome.before, outcome.after) == (START, BETTER)
    found = dict(compiled.named_predictors())[name].signature.instructions
    assert found == BETTER + fixed
    # Whatever was tried, the model read the agent's part as DSPy wrote it.
    shown = dspy.ChatAdapter().format_task_description(
        dict(agent.named_predictors())[name].signature
    )
    asked = [p for p in prompts if "`[[ ## answer ## ]]`" not in p]
    assert len(asked) > 20
    assert all(shown.partition(START)[2] in prompt for prompt in asked)

    # A program that comes from a file, or from an earlier compile, is as good a beginning.
    compiled.save(tmp_path / "agent.json")
    loaded = make()
    loaded.load(tmp_path / "agent.json")
    for program in (compiled, loaded):
        (predictor, _) = predictors_of(program, examples())
        assert (predictor.instruction, predictor.fixed) == (BETTER, fixed)


def test_the_tools_of_an_unknown_agent_are_not_touched() -> None:
    class Agent(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tools = {"add": dspy.Tool(add)}
            self.act = dspy.Predict(QA.with_instructions("Answer. You may call add."))
            self.answer = dspy.Predict(QA)

        def forward(self, question: str) -> dspy.Prediction:
            self.act(question=question)
            return self.answer(question=question)

    record = small().compile(Agent(), trainset=examples()).detailed_results
    assert record.left_out == ["act"]
    assert json.dumps(record.to_dict())
