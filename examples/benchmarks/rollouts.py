"""What a model really writes for a task's questions, as ids, and how likely it was.

Unlike runs of the program, these keep every written token, of answers that cannot be read, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import dspy
from dspy.utils.exceptions import AdapterParseError

from dspy_greater.basics.spans import INSTRUCTION, Span
from dspy_greater.lm import white_box
from dspy_greater.model import Sampling, Targeted, WhiteBox
from dspy_greater.program import current_adapter
from dspy_greater.program.metrics import Metric
from dspy_greater.program.rendering import (
    AdapterCall,
    completion_of,
    end_marks,
    render,
    with_instructions,
)
from examples.tasks import NAMES, BenchmarkTask


def shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare on which model and tasks, and where what was found is kept."""
    parser.add_argument("--model", required=True, help="folder or hub id")
    parser.add_argument("--name", help="what the model is called in the file")
    parser.add_argument("--tasks", nargs="+", choices=NAMES, required=True)
    parser.add_argument("--data", help="folder of the published data")
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--max-tokens", type=int, default=48, help="most of an answer")
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    parser.add_argument("--out", type=Path, required=True)


@dataclass(frozen=True)
class Rollout:
    """What was written, and its reward: 0 where it cannot be read."""

    ids: tuple[int, ...]
    score: float


@dataclass(frozen=True)
class Writing:
    """A task on a model: `max_tokens` is the longest answer."""

    task: BenchmarkTask
    lm: dspy.LM
    max_tokens: int

    @property
    def model(self) -> WhiteBox:
        """The model."""
        return white_box(self.lm)

    def greedy(
        self, instructions: Sequence[str], examples: Sequence[dspy.Example]
    ) -> list[list[Rollout]]:
        """Return, by instruction and example, what is written under greedy decoding."""
        adapter, metric = current_adapter(), Metric(self.task.metric)
        pairs = list(product(instructions, examples))
        sampling = Sampling(max_tokens=self.max_tokens, stop=end_marks(adapter))
        prompts = [self.prompt(text, example).ids for text, example in pairs]
        written = self.model.generate(prompts, [sampling] * len(pairs))
        (predictor,) = self.task.program().predictors()
        made = []
        for (_, example), each in zip(pairs, written, strict=True):
            try:
                outputs = adapter.parse(predictor.signature, each.text)
                score = metric.score(example, dspy.Prediction(**outputs))
            except AdapterParseError:
                score = 0.0
            made.append(Rollout(each.ids, score))
        size = len(examples)
        return [made[i * size : (i + 1) * size] for i in range(len(instructions))]

    def prompt(self, instruction: str, example: dspy.Example) -> Targeted:
        """Return a prompt's ids, none of them a target yet, with the instruction's place."""
        (predictor,) = self.task.program().predictors()
        signature = with_instructions(predictor.signature, instruction)
        inputs = {name: example[name] for name in signature.input_fields}
        rendered = render(current_adapter(), AdapterCall(signature, [], inputs))
        encoding = self.model.encode(rendered.messages, spans=rendered.spans)
        end = Span(len(encoding.ids), len(encoding.ids))
        return Targeted(encoding.ids, targets=end, inputs=encoding.spans[INSTRUCTION])

    def after(self, instruction: str, example: dspy.Example, ids: Sequence[int]) -> Targeted:
        """Return a prompt with written ids behind it, which are the targets."""
        prompt = self.prompt(instruction, example)
        whole = (*prompt.ids, *ids)
        return Targeted(whole, Span(len(prompt.ids), len(whole)), prompt.inputs)

    def label(self, example: dspy.Example) -> tuple[int, ...]:
        """Return the ids of the right answer in the adapter's form."""
        (predictor,) = self.task.program().predictors()
        labels = {name: example[name] for name in predictor.signature.output_fields}
        text, _ = completion_of(current_adapter(), predictor.signature, labels)
        return tuple(self.model.encoder.tokenizer.encode(text, add_special_tokens=False))
