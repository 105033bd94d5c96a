"""A predictor as the search sees it: instructions, runs, and targets in the right place."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dspy_greater.model import WhiteBox
from dspy_greater.program import PredictorCall, Run
from dspy_greater.program.predictors import predictors_of
from dspy_greater.search import PredictorView
from examples.published_schedule.tokens import proposals, text_of
from tests.support.thinkers import TEMPLATES, thinking_tokenizer
from tests.support.tiny import make_model

START = "Solve the problem step by step."
EXAMPLES = [
    dspy.Example(question=f"What is {n} + 3?", answer=str(n + 3)).with_inputs("question")
    for n in range(4)
]
ALL = range(len(EXAMPLES))
ADAPTERS = {"chat": dspy.ChatAdapter(), "json": dspy.JSONAdapter(), "xml": dspy.XMLAdapter()}
WORDS = st.sampled_from(["Think", "carefully", "fox", "step", "number.", "2", "problem,", "It"])
INSTRUCTIONS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


def never() -> list[Run]:
    raise AssertionError("the examples' own inputs do")


def view_of(white_box: WhiteBox, adapter: str = "chat", **knobs: Any) -> PredictorView:
    program = dspy.ChainOfThought("question -> answer")
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(START)
    (predictor,) = predictors_of(program, EXAMPLES)
    settings = {"received": never, **knobs}
    return PredictorView(predictor, EXAMPLES, white_box, ADAPTERS[adapter], **settings)


def runs() -> list[Run]:
    return [
        Run(
            1.0,
            None,
            {
                "predict": [
                    PredictorCall({"question": e.question}, {"reasoning": "r", "answer": "7"})
                ]
            },
        )
        for e in EXAMPLES
    ]


@pytest.mark.parametrize("adapter", ADAPTERS)
@given(first=INSTRUCTIONS, second=INSTRUCTIONS)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_instructions_differ_in_their_own_tokens_alone(
    adapter: str, first: str, second: str, white_box: WhiteBox
) -> None:
    there = view_of(white_box, adapter)

    def around(text: str) -> list[tuple[Any, ...]]:
        tokens, found = there.tokens(text), []
        assert text_of(there, tokens) == text
        for item in (*there.answers(text, runs(), ALL), *proposals(there, text, ALL)):
            assert item is not None
            assert item.inputs is not None
            start, end = item.inputs
            assert item.ids[start:end] == tokens
            own = item.targets == item.inputs
            found.append((item.ids[:start], item.ids[end:], own or item.ids[slice(*item.targets)]))
        return found

    assert around(first) == around(second)


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_was_thought_stands_before_the_gold_answer(
    template: str,
) -> None:
    tokenizer = thinking_tokenizer(template)
    box = WhiteBox(make_model("llama", len(tokenizer)), tokenizer)
    outputs = {"reasoning": "r", "answer": "7"}
    calls = [PredictorCall({"question": e.question}, outputs, "Let me see.") for e in EXAMPLES]
    thought = [Run(1.0, None, {"predict": [call]}) for call in calls]
    there = view_of(box)
    golds = there.answers(START, thought, ALL), there.answers(START, runs(), ALL)
    for example, gold, plain in zip(EXAMPLES, *golds, strict=True):
        assert gold is not None
        assert plain is not None
        before = box.encoder.decode(gold.ids[: gold.targets.start])
        opened = "" if template == "template" else "<think>\n"
        written = f"{opened}Let me see.\n</think>\n\n[[ ## reasoning ## ]]\nr"
        assert before.endswith(f"{written}\n\n[[ ## answer ## ]]\n")
        assert box.encoder.decode(gold.ids[slice(*gold.targets)]) == example.answer
        assert "Let me see." not in box.encoder.decode(plain.ids)


def test_a_predictor_further_down_is_shown_what_it_received(white_box: WhiteBox) -> None:
    class TwoHops(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rewrite = dspy.Predict("question -> query")
            self.answer = dspy.Predict(dspy.Signature("query -> answer", START))

    received = [
        Run(1.0, None, {"answer": [PredictorCall({"query": f"fox {n}"}, {"answer": "7"})]})
        for n in range(len(EXAMPLES) - 1)
    ]
    asked: list[int] = []

    def received_once() -> list[Run]:
        asked.append(1)
        return [*received, Run(0.0, None)]  # the last run failed before it came there

    first, second = (
        PredictorView(each, EXAMPLES, white_box, ADAPTERS["chat"], received_once)
        for each in predictors_of(TwoHops(), EXAMPLES)
    )
    texts = [white_box.encoder.decode(ids) for ids in second.contexts(range(len(EXAMPLES)))]
    assert ["fox" in text for text in texts] == [True, True, True, False]
    assert all(f"fox {n}" in texts[n] for n in range(3))
    assert asked == [1]
    first.contexts(range(len(EXAMPLES)))
    assert asked == [1]


def test_examples_without_a_label_may_be_left_out(white_box: WhiteBox) -> None:
    labels = [dspy.Example(answer="7") if n % 2 else dspy.Example() for n in range(len(EXAMPLES))]
    assert list(view_of(white_box, labels=labels).examples) == [0, 1, 2, 3]
    there = view_of(white_box, labels=labels, labelled_only=True)
    assert there.examples == [1, 3]
    missing, found = there.answers(START, runs()[:2], [0, 1])
    assert missing is None
    assert found is not None


def test_words_of_single_examples_are_found(white_box: WhiteBox) -> None:
    assert view_of(white_box).copied_words("Think of 6, step by step.") == ("6",)
