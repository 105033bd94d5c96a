"""What a chat model is asked when it is to write instructions, and how its answer is read."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dspy_greater.basics.spans import Message
from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.search.verified.library import closed
from dspy_greater.search.verified.objectives import Rollouts
from dspy_greater.search.view import PredictorView

#: Examples that are shown in a request, and the most characters of each.
SHOWN, LONGEST_SHOWN = 4, 600
#: By turns, since a low temperature gives better texts and a high one other texts.
TEMPERATURES = (0.7, 1.0)
TOP_P = 0.9
#: Times the tokens of an instruction that a model which thinks first may write.
THOUGHTS = 4

_ALONE = "Write the instruction alone."
_LEAD = re.compile(
    r"\A(?:(?:sure|certainly|okay|of course|here)\b[^\n]*:\s*\n+)?"
    r"[#*\s]*(?:(?:new|better|improved|revised|final)\s+)?(?:instruction|prompt)s?[*\s]*:[*\s]*",
    re.IGNORECASE,
)
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```", re.DOTALL)
_QUOTES = "\"'“”`"
#: Where a text that was cut off may end; not behind the number of a list's item.
_SENTENCE = re.compile(r".*(?:(?<!\n\d)[.!?:](?=\s|$)|\n)", re.DOTALL)


@dataclass(frozen=True)
class Material:
    """What there is to tell the model of a task.

    Attributes:
        instruction: The current one.
        second: Another good one; empty where there is none.
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
            if right or run.score >= 1:
                solved.append(_lines({**inputs, **(right or made)}))
            if right and run.score < 1:
                wrong = {f"{name}, wrong": made.get(name, "(unreadable)") for name in right}
                failed.append(
                    _lines({**inputs, **wrong, **{f"{n}, right": right[n] for n in right}})
                )
        return cls(rollouts.instruction, second, fields, labels, solved, failed)


def requests(material: Material, first: bool, count: int, rng: random.Random) -> list[str]:
    """Return requests for an instruction, of several kinds by turns, each with other examples.

    In the ``first`` step there is the user's instruction alone, which may say nothing; later ones
    also ask to put the current one in other words, and to combine it with another.
    """
    kinds = [_from_examples] if material.solved else []
    kinds += [_from_labels] if material.solved and closed(material.labels) else []
    kinds += [_from_failures] if material.failed else []
    if not first:
        kinds += [_reworded, *([_combined] if material.second else [])]
    return [kinds[index % len(kinds)](material, rng) for index in range(count if kinds else 0)]


def _from_examples(material: Material, rng: random.Random) -> str:
    return (
        f"Here are examples of a task:\n\n{_some(material.solved, rng)}\n\nWrite an instruction "
        f"that tells a language model how to find {', '.join(material.fields)} for other inputs. "
        f"{_ALONE}"
    )


def _from_labels(material: Material, rng: random.Random) -> str:
    return (
        f"Here are examples of a task:\n\n{_some(material.solved, rng)}\n\nThe only values of "
        f"{material.fields[-1]} are: {', '.join(closed(material.labels))}. Write an instruction "
        "for a language model that says, in one short sentence for each of these values, when it "
        f"is the right one. {_ALONE}"
    )


def _from_failures(material: Material, rng: random.Random) -> str:
    return (
        f"A language model was given this instruction:\n\n{material.instruction}\n\nIt made these "
        f"mistakes:\n\n{_some(material.failed, rng)}\n\nWrite a better instruction, with which it "
        f"would not make mistakes of this kind on other inputs. {_ALONE}"
    )


def _reworded(material: Material, rng: random.Random) -> str:
    return f"Say this instruction in other words:\n\n{material.instruction}\n\n{_ALONE}"


def _combined(material: Material, rng: random.Random) -> str:
    return (
        f"Here are two good instructions for the same task.\n\n1. {material.instruction}\n\n"
        f"2. {material.second}\n\nWrite one that has the best of both. {_ALONE}"
    )


def _lines(fields: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in fields.items())


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
