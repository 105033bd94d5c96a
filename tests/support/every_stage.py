"""A compile that goes through every stage of the search, whatever the model.

A tiny random model never answers in a format or rightly. So the adapter takes whatever text comes
back as the answer, and the metric is told what the instruction was: it grades the text, and is
pleased with any other instruction than the first.
"""

from __future__ import annotations

import json
from typing import Any

import dspy

from dspy_greater import GreaterTeleprompter, VerifiedConfig
from dspy_greater.lm import white_box
from tests.support.compiling import START, examples

CONFIG = VerifiedConfig(
    max_steps=2,
    instructions=("Think carefully.",),
    starts=1,
    library=False,
    examples=0,
    asked=2,
    max_instruction_tokens=12,
)


class Verbatim(dspy.ChatAdapter):
    """The whole completion is the answer, and the answer the whole completion."""

    def parse(self, signature: type[dspy.Signature], completion: str) -> dict[str, Any]:
        return dict.fromkeys(signature.output_fields, completion)

    def format_assistant_message_content(
        self, signature: Any, outputs: dict[str, Any], missing_field_message: str | None = None
    ) -> str:
        return "".join(str(value) for value in outputs.values())


class Telling(dspy.Module):
    """Says with the answer whether the instruction is still the first."""

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(dspy.Signature("question -> answer", START))

    def forward(self, question: str) -> dspy.Prediction:
        answer = self.predict(question=question).answer
        return dspy.Prediction(answer=answer, other=self.predict.signature.instructions != START)


def graded(example: dspy.Example, prediction: dspy.Prediction, trace: object = None) -> float:
    """Half a point for another instruction, and a little for the variety of the text."""
    return prediction.other / 2 + min(len(set(prediction.answer)), 20) / 80


def compiled_with(lm: dspy.LM) -> dspy.Module:
    teleprompter = GreaterTeleprompter(
        metric=graded, schedule=CONFIG, confidence=0.9, progress=False, num_threads=16
    )
    with dspy.context(lm=lm, adapter=Verbatim()):
        return teleprompter.compile(Telling(), trainset=examples(4), valset=examples(10)[4:])


def check_every_stage(compiled: dspy.Module, lm: dspy.LM) -> None:
    """Whether proposals, races, acceptance and the verdict did their work."""
    record = compiled.detailed_results
    counts = record.counts
    assert counts["rollouts"] == white_box(lm).counts.rollouts >= record.total_calls
    assert record.parse_failures < record.total_calls / 4  # empty texts
    # Proposals of more than one kind survived rendering, were run and accepted.
    assert len({candidate.kind for candidate in record.candidates}) > 1
    assert all(len(candidate.train_scores) == 4 for candidate in record.candidates)
    assert any(candidate.accepted for candidate in record.candidates[1:])
    (outcome,) = record.outcomes
    assert outcome.changed
    assert outcome.before == START
    assert compiled.predict.signature.instructions == outcome.after != START
    assert outcome.looks >= 1
    assert outcome.gain > 0.3
    assert json.loads(json.dumps(record.to_dict(), allow_nan=False))["counts"] == counts
