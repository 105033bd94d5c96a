"""A predictor as the search sees it: edits that survive, runs, and targets in the right place."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dspy_greater.model import Targeted, WhiteBox
from dspy_greater.program import PredictorCall, Run
from dspy_greater.search import PredictorView
from dspy_greater.search.verified.objectives import with_tokens
from tests.support.thinkers import TEMPLATES, thinking_tokenizer
from tests.support.tiny import make_model

START = "Solve the problem step by step."
EXAMPLES = [
    dspy.Example(question=f"What is {n} + 3?", answer=str(n + 3)).with_inputs("question")
    for n in range(4)
]
ADAPTERS = {"chat": dspy.ChatAdapter(), "json": dspy.JSONAdapter(), "xml": dspy.XMLAdapter()}
WORDS = st.sampled_from(["Think", "carefully", "fox", "step", "number.", "2", "problem,", "It"])
INSTRUCTIONS = st.lists(WORDS, min_size=1, max_size=6).map(" ".join)


def subject(white_box: WhiteBox, adapter: str = "chat", run: Any = None) -> PredictorView:
    program = dspy.ChainOfThought("question -> answer")
    predictor = program.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(START)
    (predictor,) = predictors_of(program, EXAMPLES)
    return PredictorView(program, predictor, EXAMPLES, run, white_box, ADAPTERS[adapter])


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
def test_new_tokens_spliced_in_are_the_same_as_rendering_anew(
    adapter: str, first: str, second: str, white_box: WhiteBox
) -> None:
    """What the exact estimates rest on."""
    there = subject(white_box, adapter)
    tokens = there.tokens(second)
    assert there.text_of(tokens) == second

    def written(text: str) -> list[Targeted | None]:
        return [item for items in there.completions(text, runs()) for item in items]

    def answers(text: str) -> list[Targeted | None]:
        return there.answers(text, runs())

    for items in (written, answers):
        for item, anew in zip(items(first), items(second), strict=True):
            assert item is not None
            assert with_tokens(item, tokens) == anew
    for item, anew in zip(there.proposals(first), there.proposals(second), strict=True):
        assert with_tokens(item, tokens) == anew


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_completion_is_scored_from_its_first_field_to_its_last(
    adapter: str, white_box: WhiteBox
) -> None:
    for (item,) in subject(white_box, adapter).completions(START, runs()):
        text = white_box.encoder.decode(item.ids[slice(*item.targets)])
        assert text.strip(' "').startswith("r")
        assert "answer" in text
        assert text.endswith("7")


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_was_thought_is_part_of_a_completion_and_stands_before_the_gold_answer(
    template: str,
) -> None:
    tokenizer = thinking_tokenizer(template)
    box = WhiteBox(make_model("llama", len(tokenizer)), tokenizer)
    outputs = {"reasoning": "r", "answer": "7"}
    calls = [PredictorCall({"question": e.question}, outputs, "Let me see.") for e in EXAMPLES]
    thought = [Run(1.0, None, {"predict": [call]}) for call in calls]
    there = subject(box)
    for (item,), gold, (plain,) in zip(
        there.completions(START, thought),
        there.answers(START, thought),
        there.completions(START, runs()),
        strict=True,
    ):
        assert gold is not None
        written = box.encoder.decode(item.ids[slice(*item.targets)])
        opened = "" if template == "template" else "<think>\n"
        assert written.startswith(f"{opened}Let me see.\n</think>\n\n[[ ## reasoning ## ]]\nr")
        assert written.endswith("7")
        before = box.encoder.decode(gold.ids[: gold.targets.start])
        assert before.endswith(f"{written[:-1]}")
        assert "Let me see." not in box.encoder.decode(plain.ids)


def test_a_run_that_wrote_nothing_readable_has_no_completion(white_box: WhiteBox) -> None:
    broken = [
        Run(0.0, None, {}),
        Run(0.0, None, {"predict": [PredictorCall({"question": "q"}, {})]}),
    ]
    assert subject(white_box).completions(START, broken) == [[], []]


def test_ids_of_no_text_give_no_instruction(white_box: WhiteBox) -> None:
    there = subject(white_box)
    assert there.text_of(there.tokens(START)) == START
    assert there.text_of(white_box.encode([{"role": "user", "content": "x"}]).ids) is None


def test_programs_are_run_on_the_chosen_examples_with_their_seeds(white_box: WhiteBox) -> None:
    calls: list[tuple[int, list[str], Any]] = []

    def run(programs: Any, examples: Any, samplings: Any) -> list[list[Run]]:
        calls.append((len(programs), [e.question for e in examples], samplings))
        return [[Run(0.0, None) for _ in examples] for _ in programs]

    there = subject(white_box, run=run)
    there.roll_out(["One.", "Two."], [2, 0])
    there.sample("One.", [1], seeds=[5, 6], temperature=0.7)
    questions = [example.question for example in EXAMPLES]
    assert calls == [
        (2, [questions[2], questions[0]], None),
        (2, [questions[1]], [{"seed": s, "temperature": 0.7} for s in (5, 6)]),
    ]


def test_words_of_single_examples_are_found(white_box: WhiteBox) -> None:
    assert subject(white_box).copied_words("Think of 6, step by step.") == ("6",)
