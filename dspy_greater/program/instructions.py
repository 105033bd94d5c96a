"""Which texts survive as the instruction of a signature."""

from __future__ import annotations

import re
import textwrap
import unicodedata

import dspy

from dspy_greater.program.errors import InstructionError, shown

# ChatAdapter's field headers, `[[ ## answer ## ]]`, would look like the start of a field.
_FIELD_HEADER = re.compile(r"\[\[\s*##.*?##\s*\]\]")
# Cc: control characters; Zl, Zp: U+2028 and U+2029, where str.splitlines breaks; Cs: lone
# surrogates, which no tokenizer can encode.
_NOT_KEPT = {"Cc", "Cs", "Zl", "Zp"}


def normalise(signature: type[dspy.Signature], text: str) -> str:
    """Return the part of ``text`` that reaches the prompt; ``""`` if none does.

    DSPy cleans instructions like docstrings, and adapters dedent them a second time.
    """
    # One cleaning can leave something for the next: a last line of spaces.
    kept = None
    while text.strip() and text != kept:
        kept = text
        text = textwrap.dedent(str(signature.with_instructions(text).instructions))
    return text if text.strip() else ""


def check_instruction(
    signature: type[dspy.Signature], text: str, predictor: str | None = None
) -> None:
    """Raise unless ``text`` reaches the prompt unchanged as the signature's instruction."""
    what = "the instruction" if predictor is None else f"the instruction of predictor {predictor!r}"
    if all(unicodedata.category(character)[0] in "CZ" for character in text):
        raise InstructionError(f"{what} is empty: give the predictor a text to start from.")
    if header := _FIELD_HEADER.search(text):
        raise InstructionError(
            f"{what} contains the field marker {header.group()!r}, which adapters use to "
            f"separate fields: remove it. Instruction: {shown(text)}"
        )
    if broken := [c for c in text if c != "\n" and unicodedata.category(c) in _NOT_KEPT]:
        raise InstructionError(
            f"{what} contains the control character {broken[0]!r}, which does not reach the "
            f"prompt unchanged: remove it. Instruction: {shown(text)}"
        )
    if normalise(signature, text) != text:
        raise InstructionError(
            f"DSPy would change {what} (it drops surrounding blank lines, leading spaces, "
            f"common indentation and lines of spaces): tidy it first. Instruction: {shown(text)}"
        )
