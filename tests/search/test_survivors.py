"""What a model writes as an instruction survives, whatever its tokenizer."""

from __future__ import annotations

from random import Random
from typing import Any

import dspy
import pytest

from dspy_greater.model import Generation, Sampling, WhiteBox
from dspy_greater.program.predictors import predictors_of
from dspy_greater.search import PredictorView
from dspy_greater.search.verified.proposals import starts
from tests.support.small_tokenizers import KINDS
from tests.support.tiny import CHATML, make_model, make_tokenizer

WRITTEN = (
    "Read the question carefully.",
    "Think step by step, then give the final answer as a number.",
    "Plan first.\nThen solve it.\nAnswer last.",
    "1. Read.\n2. Think.\n3. Answer.",
    "What is asked? Find it, and answer!",
    "Answer with `yes` or `no` only",
    'Say "unknown" if nothing fits (never guess).',
    "Löse die Aufgabe Schritt für Schritt.",
    "solve the problem",
    "List the items; count them: that is the answer.",
)


def view_with(tokenizer: Any) -> PredictorView:
    model = WhiteBox(make_model("llama", len(tokenizer)), tokenizer)
    examples = [dspy.Example(question="What is 2 + 3?", answer="5").with_inputs("question")]
    (predictor,) = predictors_of(dspy.Predict("question -> answer"), examples)
    return PredictorView(predictor, examples, model, dspy.ChatAdapter(), received=lambda: [])


class Writer:
    """A model that writes given texts behind a prompt, in the tokens they have there."""

    def __init__(self, view: PredictorView, texts: list[str], behind: str) -> None:
        self.encoder, self._view, self._texts, self._behind = (
            view.model.encoder,
            view,
            iter(texts),
            behind,
        )

    def generate(self, prompts: Any, samplings: list[Sampling]) -> list[Generation]:
        return [self._written(prompt, next(self._texts)) for prompt in prompts]

    def _written(self, prompt: tuple[int, ...], text: str) -> Generation:
        asked = f"question: What is 2 + 3?\n\ninstruction: {text}{self._behind}"
        turn = [{"role": "user", "content": asked}]
        ids = self._view.model.encode(turn, open_end=True).ids
        assert ids[: len(prompt)] == prompt
        return Generation(ids[len(prompt) :], "", "length" if self._behind else "stop")


KINDS_AND_SMOLLM = {**KINDS, "smollm": make_tokenizer}


@pytest.mark.parametrize("behind", ["", "\n\nquestion: What is 3 + 4?"])
@pytest.mark.parametrize("kind", KINDS_AND_SMOLLM)
@pytest.mark.parametrize("template", [None, CHATML])
def test_written_instructions_survive_to_the_letter(
    kind: str, template: str | None, behind: str
) -> None:
    tokenizer = KINDS_AND_SMOLLM[kind]()
    tokenizer.chat_template = template
    view = view_with(tokenizer)
    writer: Any = Writer(view, list(WRITTEN), behind)
    texts = starts(writer, view.contexts([0]), Random(0), len(WRITTEN), 200)
    survivors = [view.instruction(text) for text in texts]
    assert sum(a == b for a, b in zip(survivors, WRITTEN, strict=True)) >= 9, survivors


def test_what_can_be_no_instruction_does_not_survive() -> None:
    view = view_with(make_tokenizer())
    for text in ("", " \n ", "Fill in [[ ## answer ## ]].", "Stop <|im_end|> here.", "Ring \a."):
        assert view.instruction(text) is None
    assert view.instruction("  Read it.\n") == "Read it."
