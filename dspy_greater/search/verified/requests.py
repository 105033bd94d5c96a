"""What a chat model is asked when it is to write instructions, and how its answer is read."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dspy_greater.basics.spans import Message
from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.program import Run
from dspy_greater.search.verified.examples import apart, lines
from dspy_greater.search.verified.library import closed
from dspy_greater.search.view import PredictorView

#: Examples that are shown in a request, and the most characters of each.
SHOWN, LONGEST_SHOWN = 4, 600
#: By turns, since a low temperature gives better texts and a high one other texts.
TEMPERATURES = (0.7, 1.0)
TOP_P = 0.9
#: Times the tokens of an instruction that a model which thinks first may write.
THOUGHTS = 4

#: Requests, each of which ends with ALONE.
ALONE = "Write the instruction alone."
FROM_EXAMPLES = (
    "Here are examples of a task:\n\n{examples}\n\nWrite an instruction that tells a language "
    "model how to find {fields} for other inputs. "
)
FROM_LABELS = (
    "Here are examples of a task:\n\n{examples}\n\nThe only values of {last} are: {labels}. Write "
    "an instruction for a language model that says, in one short sentence for each of these values"
    ", when it is the right one. "
)
FROM_FAILURES = (
    "A language model was given this instruction:\n\n{instruction}\n\nIt made these mistakes:\n\n"
    "{examples}\n\nWrite a better instruction, with which it would not make mistakes of this kind "
    "on other inputs. "
)
REWORDED = "Say this instruction in other words:\n\n{instruction}\n\n"
COMBINED = (
    "Here are two good instructions for the same task.\n\n1. {instruction}\n\n2. {second}\n\nWrite "
    "one that has the best of both. "
)
_LEAD = re.compile(
    r"\A(?:(?:sure|certainly|okay|of course|here)\b[^\n]*:\s*\n+)?"
    r"[#*\s]*(?:(?:new|better|improved|revised|final)\s+)?(?:instruction|prompt)s?[*\s]*:[*\s]*",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```", re.DOTALL)
_QUOTES = "\"'“”„‟‘’«»「」『』`"
#: Where a text that was cut off may end; not behind the number of a list's item.
_SENTENCE = re.compile(r".*(?:(?<!\n\d)[.!?:؟।](?=\s|$)|[。！？：]|\n)", re.DOTALL)


@dataclass(frozen=True)
class Rollouts:
    """Greedy runs under one instruction, each with its training example."""

    instruction: str
    examples: Sequence[int]
    runs: Sequence[Run]


@dataclass(frozen=True)
class Material:
    """What there is to tell the model of a task.

    Attributes:
        instruction: The current one, without the examples that it shows.
        second: Another good one, without them, too; empty where there is none.
        fields: The output fields that have labels, all where none has.
        labels: The training examples' labels of the last of them.
        solved: Examples with their labels, or else with what a rewarded run made of them.
        failed: Examples with a wrong answer and the right one.
    """

    instruction: str
    second: str
    fields: Sequence[str]
    labels: Sequence[str]
    solved: Sequence[str]
    failed: Sequence[str]

    @classmethod
    def of(cls, view: PredictorView, rollouts: Rollouts, second: str = "") -> Material:
        """Gather it from the current program's runs on training examples."""
        solved, failed, labels = [], [], []
        fields = list(view.fields)
        for example, run in zip(rollouts.examples, rollouts.runs, strict=True):
            inputs, right = view.texts(example), view.label_texts(example)
            made = view.output_texts(run)
            if right:
                fields = list(right)
                labels.append(right[fields[-1]])
            if inputs and not any(inputs.values()):
                continue  # the program did not call this predictor: there is nothing to show
            if right or run.score >= 1:
                solved.append(lines({**inputs, **(right or made)}))
            if right and run.score < 1:
                wrong = {f"{name}, wrong": made.get(name, "(unreadable)") for name in right}
                told = {f"{name}, right": label for name, label in right.items()}
                failed.append(lines({**inputs, **wrong, **told}))
        words, others = apart(rollouts.instruction)[0], apart(second)[0]
        return cls(words, others, fields, labels, solved, failed)


def requests(material: Material, first: bool, count: int, rng: random.Random) -> list[str]:
    """Return requests for an instruction, of several kinds by turns, each with other examples.

    In the ``first`` step there is the user's instruction alone, which may say nothing; later ones
    also ask to put the current one in other words, and to combine it with another.
    """
    its, labels = material, closed(material.labels)
    # Each kind of request with the examples that it shows.
    kinds = [(FROM_EXAMPLES, its.solved)] if its.solved else []
    kinds += [(FROM_LABELS, its.solved)] if its.solved and labels else []
    kinds += [(FROM_FAILURES, its.failed)] if its.failed else []
    if not first:
        kinds += [(REWORDED, []), *([(COMBINED, [])] if its.second else [])]
    return [
        text.format(
            examples=_some(shown, rng),
            fields=", ".join(its.fields),
            last=its.fields[-1],
            labels=", ".join(labels),
            instruction=its.instruction,
            second=its.second,
        )
        + ALONE
        for text, shown in itertools.islice(itertools.cycle(kinds), count)
    ]


def _some(texts: Sequence[str], rng: random.Random) -> str:
    chosen = rng.sample(texts, min(SHOWN, len(texts)))
    return "\n\n".join(text[:LONGEST_SHOWN] for text in chosen)


def answers(
    model: WhiteBox, asked: Sequence[str], max_tokens: int, rng: random.Random
) -> list[str]:
    """Return what the model writes when it is asked, in the assistant's turn, one text each.

    A request that leaves no room in the model's context is not made.
    """
    room = max_tokens * (THOUGHTS if model.encoder.thinking else 1)
    prompts = [model.encode([Message(role="user", content=text)]).ids for text in asked]
    prompts = [ids for ids in prompts if len(ids) + room <= model.context]
    samplings = [
        Sampling(
            max_tokens=room,
            temperature=TEMPERATURES[index % len(TEMPERATURES)],
            top_p=TOP_P,
            seed=rng.randrange(2**32),
        )
        for index in range(len(prompts))
    ]
    written = model.generate(prompts, samplings)
    return [read(each.text, whole=each.finish == "stop") for each in written]


def read(text: str, whole: bool = True) -> str:
    """Return the instruction in an answer, without what chat models put around it.

    One that is not ``whole`` was cut off, and counts up to its last whole sentence or line.
    """
    if not whole:
        match = _SENTENCE.match(text)
        text = match[0] if match else ""
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    text = _LEAD.sub("", text, count=1).strip()
    quoted = len(text) > 1 and text[0] in _QUOTES and text[-1] in _QUOTES
    return text.strip(_QUOTES).strip() if quoted else text
