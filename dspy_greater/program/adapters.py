"""Whether an adapter writes the prompts and answers of a program as text, before any long work."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import dspy

from dspy_greater.program.errors import RenderingError
from dspy_greater.program.instructions import check_instruction
from dspy_greater.program.predictors import Predictor, call_of
from dspy_greater.program.rendering import completion_of, render

_MEDIA = (dspy.Image, dspy.Audio, dspy.File)


def check_media(found: Sequence[Predictor]) -> None:
    """Raise if a predictor, whether optimized or not, reads or writes something other than text."""
    for predictor in found:
        for name, field in predictor.signature.fields.items():
            kinds = dspy.Type.extract_custom_type_from_annotation(field.annotation)
            if media := [kind.__name__ for kind in kinds if issubclass(kind, _MEDIA)]:
                raise RenderingError(
                    f"the field {name!r} of predictor {predictor.name!r} is a dspy.{media[0]}, but "
                    "a causal language model reads and writes text alone: give a description "
                    "instead, or optimize another program."
                )


def check_adapter(
    adapter: Any, predictors: Sequence[Predictor], examples: Sequence[dspy.Example]
) -> None:
    """Raise unless predictors have instructions, and an adapter writes their calls as text."""
    if not isinstance(adapter, dspy.Adapter):
        if isinstance(adapter, type):
            fault, made = f"the class {adapter.__name__}", f"{adapter.__name__}()"
        else:
            fault, made = f"a {type(adapter).__name__}", "dspy.ChatAdapter()"
        raise RenderingError(
            f"the configured adapter is {fault}, not a dspy.Adapter: write "
            f"dspy.configure(adapter={made})."
        )
    if isinstance(adapter, dspy.TwoStepAdapter):
        raise RenderingError(
            f"{type(adapter).__name__} lets a second model read the answer, so no text is known "
            "that the program's own model would have to write: compile with ChatAdapter, "
            "JSONAdapter or XMLAdapter; the instruction can be used with any adapter afterwards."
        )
    for predictor in predictors:
        for text in (predictor.instruction, predictor.whole(predictor.instruction)):
            check_instruction(predictor.signature, text, predictor.name)
    for predictor, example in product(predictors, examples):
        outputs = dict.fromkeys(predictor.signature.output_fields, "text")
        try:
            call = call_of(predictor, example)
            if call.inputs.keys() == predictor.signature.input_fields.keys():
                render(adapter, call, outputs)
            else:  # its inputs come from another predictor
                completion_of(adapter, predictor.signature, outputs)
        except RenderingError as error:
            raise RenderingError(f"predictor {predictor.name!r}: {error}") from error
        except Exception as error:
            raise RenderingError(
                f"{type(adapter).__name__} cannot write a call of predictor {predictor.name!r} "
                f"({type(error).__name__}: {error}): it needs format() and "
                "format_assistant_message_content(), as in dspy.Adapter, or use ChatAdapter."
            ) from error
