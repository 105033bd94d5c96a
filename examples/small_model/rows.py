"""Rows of text for the training, laid out by DSPy's own `ChatAdapter`.

The layout of a row depends only on the kind of its task, so each layout is rendered once, with
marks in the places of the instruction, the question and the outputs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import dspy

from examples.small_model.tasks import LESSONS, SIGNATURE, Completion, Kind, is_held_out
from examples.small_model.wording import chances, instruction

SYSTEM, USER, ASSISTANT, END, PAD = "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{{ message['content'] | trim if message['role'] == 'assistant' else message['content'] }}"
    "{{ '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# How much the loss on each part of a row counts. The first line of a reasoning tells its plan.
BOILERPLATE, QUESTION, INSTRUCTION, OUTPUT, PLAN = 0.03, 0.1, 0.25, 1.0, 3.0
PROPOSAL_SHARE = 0.08

_MARKS = {"instruction": "<<instruction>>", "question": "<<question>>"}
_MARKS |= {"reasoning": "<<reasoning>>", "answer": "<<answer>>"}
_MARK = re.compile("(" + "|".join(_MARKS.values()) + ")")


@dataclass(frozen=True)
class Piece:
    """A part of a row, with the weight of its tokens in the loss."""

    text: str
    weight: float


Row = list[Piece]


def signature(kind: Kind, instructions: str) -> type[dspy.Signature]:
    """Returns the signature that a program of this kind sends to the model."""
    module = getattr(dspy, kind)(dspy.Signature(SIGNATURE, instructions))
    predictor = module.predictors()[0]
    result: type[dspy.Signature] = predictor.signature
    return result


def prompt(kind: Kind, instructions: str, question: str) -> list[dict[str, str]]:
    """Renders the messages that DSPy sends for a question."""
    messages: list[dict[str, str]] = dspy.ChatAdapter().format(
        signature(kind, instructions), demos=[], inputs={"question": question}
    )
    return messages


def reply(kind: Kind, completion: Completion) -> str:
    """Renders a completion as DSPy expects it from the model."""
    outputs = {"reasoning": completion.reasoning, "answer": completion.answer}
    kept = signature(kind, "").output_fields
    text: str = dspy.ChatAdapter().format_assistant_message_content(
        signature(kind, ""), {name: outputs[name] for name in kept}
    )
    return text.strip()


@lru_cache
def layout(kind: Kind) -> tuple[str, ...]:
    """Returns a row of this kind in parts: boilerplate and marks by turns."""
    system, user = prompt(kind, _MARKS["instruction"], _MARKS["question"])
    answer = reply(kind, Completion(_MARKS["reasoning"], _MARKS["answer"]))
    text = f"{SYSTEM}{system['content']}{END}{USER}{user['content']}{END}{ASSISTANT}{answer}{END}"
    # The last of the spaces before the instruction goes with its first word.
    text = text.replace(f" {_MARKS['instruction']}", _MARKS["instruction"])
    return tuple(part for part in _MARK.split(text) if part)


def boilerplate() -> list[str]:
    """Returns the strings of the layouts that deserve a token of their own."""
    roles = re.compile(r"<\|\w+\|>")
    parts = {
        part for kind in ("Predict", "ChainOfThought") for text in layout(kind)
        for part in roles.split(text) if part and not _MARK.fullmatch(part)
    }  # fmt: skip
    fields = ("question", "reasoning", "answer", "completed")
    return sorted(parts | {f"[[ ## {name} ## ]]" for name in fields} | {"\n\ninstruction:"})


def task_row(kind: Kind, instructions: str, question: str, completion: Completion) -> Row:
    """Lays out a question with its completion."""
    plan, line_end, steps = completion.reasoning.partition("\n")
    values = {
        _MARKS["instruction"]: [Piece(f" {instructions}", INSTRUCTION)],
        _MARKS["question"]: [Piece(question, QUESTION)],
        _MARKS["reasoning"]: [Piece(plan + line_end, PLAN), Piece(steps, OUTPUT)],
        _MARKS["answer"]: [Piece(completion.answer, OUTPUT)],
    }
    row: Row = []
    weight = BOILERPLATE
    for part in layout(kind):
        weight = OUTPUT if ASSISTANT in part or weight == OUTPUT else BOILERPLATE
        row += values.get(part) or [Piece(part, weight)]
    return row


def proposal_row(question: str, instructions: str) -> Row:
    """Lays out a question with an instruction that suits it, in one user turn."""
    return [
        Piece(f"{USER}question: ", BOILERPLATE),
        Piece(question, QUESTION),
        Piece("\n\ninstruction:", BOILERPLATE),
        Piece(f" {instructions}", OUTPUT),
        Piece(END, OUTPUT),
    ]


def rows(seed: int, names: Sequence[str] = tuple(LESSONS)) -> Iterator[Row]:
    """Draws the rows of the training, without end; no held-out question is among them.

    Args:
        seed: Seed of every draw.
        names: The tasks; all of them by default.
    """
    rng = random.Random(seed)
    tasks = [LESSONS[name] for name in names]
    shares = [task.share for task in tasks]
    while True:
        task = rng.choices(tasks, shares)[0]
        problem = task.problem(rng)
        if is_held_out(problem.question):
            continue
        if rng.random() < PROPOSAL_SHARE:
            yield proposal_row(problem.question, instruction(task.name, rng, suited=True))
            continue
        words = instruction(task.name, rng)
        aspects = chances(words, task.name, problem).draw(rng)
        yield task_row(task.kind, words, problem.question, problem.completions[aspects])
