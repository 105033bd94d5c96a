"""A predictor that one run calls several times learns from all that it wrote there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dspy
import pytest
import torch
from dspy.utils import DummyLM

from dspy_greater.model import WhiteBox
from dspy_greater.program import PredictorCall, Run
from dspy_greater.program.predictors import predictors_of
from dspy_greater.program.runs import run_programs
from dspy_greater.search import PredictorView
from dspy_greater.search.verified.estimates import exact, slope
from dspy_greater.search.verified.objectives import Rollouts, success_likelihood
from tests.support.white_boxes import model_of, white_box_of

START = "Solve the problem step by step."
ADAPTER = dspy.ChatAdapter()
EXAMPLES = [
    dspy.Example(question=f"What is {n} + 3?", answer=str(n + 3)).with_inputs("question")
    for n in range(3)
]


class Loop(dspy.Module):
    """Asks one predictor again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.step = dspy.Predict(dspy.Signature("question, so_far -> thought, answer", START))


def view_of(program: dspy.Module, name: str, white_box: WhiteBox) -> PredictorView:
    (predictor,) = (each for each in predictors_of(program, EXAMPLES) if each.name == name)
    # Nothing runs: a predictor's place in the prompt does not hang on its inputs.
    return PredictorView(
        predictor, EXAMPLES, white_box, ADAPTER, received=lambda: [Run(0.0, None)] * len(EXAMPLES)
    )


def call(question: str, so_far: str, thought: str, answer: str) -> PredictorCall:
    return PredictorCall(
        {"question": question, "so_far": so_far}, {"thought": thought, "answer": answer}
    )


#: Of one call, of three, and of two that were not rewarded.
RUNS = [
    Run(1.0, None, {"step": [call("What is 2 + 3?", "", "think carefully", "5")]}),
    Run(
        0.5,
        None,
        {
            "step": [
                call("What is 2 + 7?", "", "the quick fox", "none yet"),
                call("What is 2 + 7?", "fox", "jumps over", "9 perhaps"),
                call("What is 2 + 7?", "fox, over", "the lazy dog", "9"),
            ]
        },
    ),
    Run(0.0, None, {"step": [call("Hm?", "", "a", "b"), call("Hm?", "a", "c", "d")]}),
]


def plainly(white_box: WhiteBox, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    """Return what the model thinks of an answer, ``sum log p``, and the gradient of it.

    From the text alone: the whole prompt, one forward pass, one backward pass.
    """
    tokenizer, model = white_box.encoder.tokenizer, model_of(white_box)
    signature = Loop().step.signature
    messages = ADAPTER.format(signature, [], dict(inputs))
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    begin = len(text)
    text += ADAPTER.format_assistant_message_content(signature, dict(outputs))
    thought, answer = outputs["thought"], outputs["answer"]
    first, end = text.index(thought, begin), text.rindex(answer) + len(answer)
    encoded = tokenizer(text[:end], add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = torch.tensor(encoded["input_ids"]), encoded["offset_mapping"]
    there = text.index(START)
    place = [i for i, (a, b) in enumerate(offsets) if b > there and a < there + len(START)]
    rows = [i for i, (_, b) in enumerate(offsets) if b > first]
    embedded = model.get_input_embeddings()(ids).detach().requires_grad_()
    log_probs = model(inputs_embeds=embedded[None]).logits[0].log_softmax(-1)
    total = sum(log_probs[row - 1, ids[row]] for row in rows)
    (gradient,) = torch.autograd.grad(total, embedded)
    return total.item(), gradient[place]


def test_value_and_gradient_are_those_of_all_that_was_written() -> None:
    white_box = white_box_of("llama", dtype=torch.float64)
    there = view_of(Loop(), "step", white_box)
    rewards = tuple(run.score for run in RUNS)
    terms = success_likelihood(there, Rollouts(START, (0, 1, 2), tuple(RUNS), rewards))
    assert len(terms) == 1 + 3  # nothing is spent on a run without reward
    found = slope(white_box, terms)
    assert found is not None
    value, gradient = 0.0, torch.zeros_like(found.positions, dtype=torch.float64)
    for run in RUNS:
        for inputs, outputs, _ in run.calls["step"]:
            log_prob, pull = plainly(white_box, inputs, outputs)
            value += run.score * log_prob / len(RUNS)
            gradient += run.score * pull / len(RUNS)
    assert found.value == pytest.approx(value, rel=1e-5)
    assert exact(white_box, terms, [there.tokens(START)])[0] == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(found.positions.double(), gradient, rtol=1e-4, atol=1e-6)


def test_a_call_that_cannot_be_read_is_left_out(white_box: WhiteBox) -> None:
    broken = [
        *RUNS[1].calls["step"][:2],
        PredictorCall({"question": "?", "so_far": ""}, {"thought": "hm"}),
    ]
    long = call("why " * 3000, "", "a", "b")
    there = view_of(Loop(), "step", white_box)
    (items,) = there.completions(START, [Run(1.0, None, {"step": [*broken, long]})])
    assert [items] == there.completions(START, [Run(1.0, None, {"step": broken[:2]})])
    assert len(items) == 2


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_an_agent_learns_from_each_of_its_steps(white_box: WhiteBox) -> None:
    def step(thought: str, tool: str, **arguments: Any) -> dict[str, Any]:
        return {
            "next_thought": thought,
            "next_tool_name": tool,
            "next_tool_args": json.dumps(arguments),
        }

    agent = dspy.ReAct(dspy.Signature("question -> answer", START), tools=[add], max_iters=4)
    script = [
        step("first add", "add", a=2, b=3),
        step("once more", "add", a=5, b=0),
        step("that is it", "finish"),
        {"reasoning": "so", "answer": "5"},
    ]
    ((run,),) = run_programs(
        [agent], EXAMPLES[2:], lambda example, prediction: 1.0, lms=[DummyLM(script)]
    )
    (items,) = view_of(agent, "react", white_box).completions(START, [run])
    written = [white_box.encoder.decode(item.ids[slice(*item.targets)]) for item in items]
    assert [any(said in text for text in written) for said in ("first add", "once more")] == [1, 1]
    assert [text.split()[0] for text in written] == ["first", "once", "that"]
    assert "finish" in written[2]
    (items,) = view_of(agent, "extract.predict", white_box).completions(START, [run])
    assert len(items) == 1
