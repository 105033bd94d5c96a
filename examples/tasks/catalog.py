"""The tasks by name, each with its answers and an instruction that a person would write."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dspy

from dspy_greater.program import DataError
from examples.small_model import tasks as small_model
from examples.tasks import everyday, sources
from examples.tasks.answers import (
    BOOLEAN,
    BRACKETS,
    NUMBER,
    OPTION,
    TRUTH,
    VALIDITY,
    WORDS,
    YES_NO,
    YES_NO_SMALL,
    Answers,
)
from examples.tasks.everyday import INTENTS
from examples.tasks.splits import TEST, TRAIN, VALIDATION, Splits, divide, divide_two


@dataclass(frozen=True)
class BenchmarkTask:
    """One task: its program, its metric, its examples.

    Args:
        name: The name in `NAMES`.
        answers: The kind of answer, for tables.
        score: Compares a prediction with what was published; `metric` is the same for optimizers.
        handwritten: A plain instruction, as a person would write it without trying any.
        module: Makes the program with DSPy's own instruction.
        splits: Called with a seed; the same seed gives the same splits.
    """

    name: str
    answers: str
    score: Callable[[dspy.Example, Any], float]
    handwritten: str
    module: Callable[[], dspy.Module]
    splits: Callable[[int], Splits]

    def metric(
        self,
        example: dspy.Example,
        prediction: Any,
        trace: Any = None,
        pred_name: Any = None,
        pred_trace: Any = None,
    ) -> float:
        """Score a prediction, called as DSPy's optimizers do or, with five arguments, as GEPA."""
        return self.score(example, prediction)

    def without_reasoning(self) -> BenchmarkTask:
        """Return the task with a program that answers at once."""
        return replace(self, module=lambda: _direct(self.module()))

    def program(self, instruction: str | None = None) -> dspy.Module:
        """Return a fresh program; without an instruction it has DSPy's own."""
        program = self.module()
        if instruction is not None:
            for predictor in program.predictors():
                predictor.signature = predictor.signature.with_instructions(instruction)
        return program


def _direct(program: dspy.Module) -> dspy.Module:
    """Return a program that answers without reasoning."""
    (predictor,) = program.predictors()
    fields = {k: f for k, f in predictor.signature.fields.items() if k != "reasoning"}
    instruction = str(predictor.signature.instructions)
    return dspy.Predict(
        dspy.Signature({k: (f.annotation, f) for k, f in fields.items()}, instruction)
    )


_DEDUCE = "Work out the order of the objects from the clues, and choose the statement that holds."
_TRACK = "Keep track of who holds what after every swap, and choose what is true at the end."

BBH: dict[str, tuple[Answers, str]] = {
    "boolean_expressions": (
        BOOLEAN,
        "Evaluate the Boolean expression: parentheses first, then not, then and, then or.",
    ),
    "causal_judgement": (
        YES_NO,
        "Answer as a typical person would judge whether it was the cause or was intended.",
    ),
    "date_understanding": (
        OPTION,
        "Work out today's date first, then the date asked for, and choose it.",
    ),
    "disambiguation_qa": (
        OPTION,
        "Choose what the pronoun refers to, or that it is ambiguous if the sentence fits both.",
    ),
    "dyck_languages": (
        BRACKETS,
        "Keep a stack of the open brackets, and close those that are left, the last one first.",
    ),
    "formal_fallacies": (
        VALIDITY,
        "Say whether the conclusion follows from the stated premises by logic alone.",
    ),
    "geometric_shapes": (
        OPTION,
        "Follow the commands of the SVG path, count its sides, and choose the shape it draws.",
    ),
    "hyperbaton": (
        OPTION,
        "Choose the sentence whose adjectives go by opinion, size, age, shape, color, origin, "
        "material and purpose.",
    ),
    "logical_deduction_five_objects": (OPTION, _DEDUCE),
    "logical_deduction_seven_objects": (OPTION, _DEDUCE),
    "logical_deduction_three_objects": (OPTION, _DEDUCE),
    "movie_recommendation": (
        OPTION,
        "Choose the movie that is most like the given ones in genre, time and audience.",
    ),
    "multistep_arithmetic_two": (
        NUMBER,
        "Evaluate the expression step by step: parentheses first, products before sums, with care "
        "for signs.",
    ),
    "navigate": (
        YES_NO,
        "Follow the position through every step, and say whether it ends where it started.",
    ),
    "object_counting": (
        NUMBER,
        "List the things that belong to the kind asked for with their numbers, and add these up.",
    ),
    "penguins_in_a_table": (
        OPTION,
        "Write out the table with every change made to it, then answer from it.",
    ),
    "reasoning_about_colored_objects": (
        OPTION,
        "List the objects in order with their colors, then answer from the list.",
    ),
    "ruin_names": (
        OPTION,
        "Choose the edit of the name that makes a funny meaning with a small change.",
    ),
    "salient_translation_error_detection": (
        OPTION,
        "Compare the translation with its source, and choose the kind of error it contains.",
    ),
    "snarks": (OPTION, "Choose the statement that means the opposite of what it says."),
    "sports_understanding": (
        YES_NO_SMALL,
        "Say whether the person, the action and the event belong to the same sport.",
    ),
    "temporal_sequences": (
        OPTION,
        "Choose the only time within the opening hours at which the person was not seen elsewhere.",
    ),
    "tracking_shuffled_objects_five_objects": (OPTION, _TRACK),
    "tracking_shuffled_objects_seven_objects": (OPTION, _TRACK),
    "tracking_shuffled_objects_three_objects": (OPTION, _TRACK),
    "web_of_lies": (
        YES_NO,
        "Go from person to person and decide of each whether they tell the truth or lie.",
    ),
    "word_sorting": (
        WORDS,
        "Sort the words alphabetically, letter by letter, and keep every one of them.",
    ),
}
GSM8K_INSTRUCTION = "Solve the problem step by step, and give the number that it asks for."
FOLIO_INSTRUCTION = (
    "Say whether the conclusion follows from the premises (True), contradicts them (False), or "
    "neither (Uncertain)."
)

EVERYDAY = ("banking77", "scone", "facility")
PUBLISHED = (*BBH, "gsm8k", "folio", *EVERYDAY)
SYNTHETIC = tuple(small_model.TASKS)
NAMES = (*PUBLISHED, *SYNTHETIC)


def load(name: str, data: sources.Data = None) -> BenchmarkTask:
    """Return a task; nothing is read before its splits are asked for.

    Args:
        name: One of `NAMES`.
        data: The folder of the published data; the environment variable DSPY_GREATER_DATA, and
            the Hugging Face hub where that is not set, if it is None.

    Raises:
        DataError: There is no such task.
    """
    if name in BBH:
        answers, handwritten = BBH[name]
        return _published(name, answers, handwritten, partial(_bbh_splits, name, data))
    if name == "gsm8k":
        splits = partial(_two_files, name, lambda split: sources.gsm8k(split, data))
        return _published(name, NUMBER, GSM8K_INSTRUCTION, splits)
    if name == "folio":
        inputs = ("premises", "conclusion")
        return _published(name, TRUTH, FOLIO_INSTRUCTION, partial(_folio_splits, data), inputs)
    if name in EVERYDAY:
        return _everyday(name, data)
    if name in SYNTHETIC:
        return _synthetic(small_model.TASKS[name])
    raise DataError(f"There is no task {name!r}: choose one of {', '.join(NAMES)}.")


def _published(
    name: str,
    answers: Answers,
    handwritten: str,
    splits: Callable[[int], Splits],
    inputs: Sequence[str] = ("question",),
) -> BenchmarkTask:
    def module() -> dspy.Module:
        fields = {field: (str, dspy.InputField()) for field in inputs}
        fields["answer"] = (str, dspy.OutputField(desc=answers.description))
        return dspy.ChainOfThought(dspy.Signature(fields))

    return BenchmarkTask(name, answers.kind, answers.score, handwritten, module, splits)


def _everyday(name: str, data: sources.Data) -> BenchmarkTask:
    if name == "banking77":
        draw = partial(_two_files, name, lambda split: sources.banking77(split, INTENTS, data))
        text, metric = everyday.BANKING77_INSTRUCTION, everyday.same_intent
        return BenchmarkTask(name, "one of 12 intents", metric, text, everyday.banking77, draw)
    if name == "scone":
        draw = partial(_two_files, name, lambda split: sources.scone(split, data))
        text = everyday.SCONE_INSTRUCTION
        return BenchmarkTask(name, YES_NO.kind, YES_NO.score, text, everyday.scone, draw)
    return BenchmarkTask(
        name,
        "three typed fields",
        everyday.facility_score,
        everyday.FACILITY_INSTRUCTION,
        everyday.facility,
        lambda seed: divide(name, sources.facility(data), seed),
    )


def _two_files(name: str, read: Callable[[str], Sequence[dspy.Example]], seed: int) -> Splits:
    return divide_two(name, read("train"), read("test"), seed)


def _bbh_splits(name: str, data: sources.Data, seed: int) -> Splits:
    return divide(name, sources.bbh(name, data), seed)


def _folio_splits(data: sources.Data, seed: int) -> Splits:
    pool, held_out = sources.folio("train", data), sources.folio("validation", data)
    return divide_two("folio", pool, held_out, seed, story=lambda example: str(example.premises))


def _synthetic(task: small_model.Task) -> BenchmarkTask:
    def splits(seed: int) -> Splits:
        draw = partial(small_model.examples, task.name, seed=seed)
        return Splits(draw("train", TRAIN), draw("validation", VALIDATION), draw("test", TEST))

    return BenchmarkTask(
        task.name, "exact text", task.metric, task.good_instruction, task.program, splits
    )
