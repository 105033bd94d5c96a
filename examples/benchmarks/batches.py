"""How often a prompt's greedy text, and its score, hang on the batch in which it is written."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

import dspy
import torch
from dspy.utils.exceptions import AdapterParseError

from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.program import call_of, current_adapter, render
from dspy_greater.program.predictors import predictors_of
from examples.benchmarks.common import RESULTS, default_instruction, markdown, program_with
from examples.benchmarks.models import load_model
from examples.small_model.tasks import TASKS, Task, examples

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SETTINGS = Sampling(max_tokens=200)
SEED = 0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--examples", type=int, default=32, help="of each task")
    parser.add_argument("--rows", type=int, nargs="+", default=[8, 64], help="of a batch")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))


@dataclass(frozen=True, eq=False)
class Question:
    """A prompt, and what tells whether a text answers it.

    Attributes:
        task: The task.
        example: One of its examples.
        signature: What the program asks for.
        prompt: Token ids.
    """

    task: Task
    example: dspy.Example
    signature: type[dspy.Signature]
    prompt: tuple[int, ...]

    def score(self, text: str) -> float:
        """Return the metric's score of a text; 0 where it cannot be read."""
        try:
            outputs = current_adapter().parse(self.signature, text)
        except AdapterParseError:
            return 0.0
        return float(self.task.metric(self.example, dspy.Prediction(**outputs)))


def run(options: argparse.Namespace) -> str:
    """Write each text alone and in batches of chance make-up; keep and return what differs."""
    model, tokenizer = load_model("small")
    found = []
    for dtype in options.dtypes:
        box = WhiteBox(model.to(DTYPES[dtype]), tokenizer)
        asked = questions(box, options.examples)
        alone = [text for each in asked for text in written(box, [each])]
        found += [{"dtype": dtype, **differing(box, asked, alone, rows)} for rows in options.rows]
    (RESULTS / "batches.json").write_text(json.dumps(found, indent=1) + "\n")
    return markdown(list(found[0]), [[str(value) for value in each.values()] for each in found])


def questions(box: WhiteBox, count: int) -> list[Question]:
    """Return so many of each task, half under DSPy's instruction and half under a good one."""
    asked = []
    for name, task in TASKS.items():
        for number, example in enumerate(examples(name, "validation", count, SEED)):
            instruction = task.good_instruction if number % 2 else default_instruction(task)
            (predictor,) = predictors_of(program_with(task, instruction), [example])
            messages = render(current_adapter(), call_of(predictor, example)).messages
            signature, ids = predictor.signature, box.encode(messages).ids
            asked.append(Question(task, example, signature, ids))
    return asked


def written(box: WhiteBox, asked: Sequence[Question]) -> list[str]:
    """Return the greedy texts of one batch."""
    done = box.generate([each.prompt for each in asked], [SETTINGS] * len(asked))
    return [each.text for each in done]


def differing(
    box: WhiteBox, asked: Sequence[Question], alone: Sequence[str], rows: int
) -> dict[str, int]:
    """Return how many texts, and scores, are others in batches of chance make-up."""
    order = random.Random(rows).sample(range(len(asked)), len(asked))
    texts: dict[int, str] = {}
    for start in range(0, len(order), rows):
        batch = order[start : start + rows]
        texts.update(zip(batch, written(box, [asked[i] for i in batch]), strict=True))
    scores = [(each.score(alone[i]), each.score(texts[i])) for i, each in enumerate(asked)]
    return {
        "rows": rows,
        "texts": len(asked),
        "other texts": sum(texts[i] != text for i, text in enumerate(alone)),
        "better": sum(there > before for before, there in scores),
        "worse": sum(there < before for before, there in scores),
    }
