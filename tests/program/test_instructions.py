"""Only texts that DSPy and the adapters keep byte for byte are instructions."""

from __future__ import annotations

import dspy
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dspy_greater.program import InstructionError, check_instruction, normalise

# Wall time is no fault on a busy machine.
thorough = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])

SIGNATURE = dspy.Signature("question -> answer")


@pytest.mark.parametrize(
    "text",
    [
        "Answer the question.",
        "Answer.\nThink first.",
        "Steps:\n  1. Read.\n\nThen answer.",
        "Réponds à la question 🙂.",
        "Use [[double]] brackets and ## headings.",
        "A trailing space stays ",
    ],
)
def test_ordinary_texts_pass(text):
    check_instruction(SIGNATURE, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n ", "is empty"),
        (" Answer.", "would change"),
        ("Answer.\n", "would change"),
        ("\n  Answer.", "would change"),
        ("Answer.\n    Indented twice.", "would change"),
        ("Answer.\n  \nA line of spaces.", "would change"),
        ("Answer\tthis.", "control character '\\\\t'"),
        ("Answer\x0cthis.", "control character '\\\\x0c'"),
        ("Answer\rthis.", "control character"),
        ("Answer\u2028this.", "control character"),
        ("Answer\x85this.", "control character"),
        ("Answer \ud800.", "control character"),
        ("Fill in [[ ## answer ## ]] now.", r"field marker '\[\[ ## answer ## \]\]'"),
        ("Fill in [[## completed ##]].", "field marker"),
    ],
)
def test_each_fault_has_its_own_message(text, message):
    with pytest.raises(InstructionError, match=message):
        check_instruction(SIGNATURE, text)


def test_long_texts_are_shortened_in_messages():
    with pytest.raises(InstructionError) as error:
        check_instruction(SIGNATURE, "word " * 1000 + "\x0c")
    assert len(str(error.value)) < 300


@thorough
@given(st.text(st.sampled_from("ab .\n\t ")))
@example("\n \na")
@example("a\n ")
def test_normalised_texts_are_kept_as_they_are(text):
    kept = normalise(SIGNATURE, text)
    assert normalise(SIGNATURE, kept) == kept
    if kept:
        check_instruction(SIGNATURE, kept)


def test_blank_texts_do_not_become_dspys_default():
    assert SIGNATURE.with_instructions("").instructions.startswith("Given the fields")
    assert normalise(SIGNATURE, " \n") == ""


@thorough
@given(st.text(st.sampled_from("ab .\n\t\x0c\u2028 [#]")))
def test_a_text_that_passes_comes_back_from_the_signature(text):
    try:
        check_instruction(SIGNATURE, text)
    except InstructionError:
        return
    assert SIGNATURE.with_instructions(text).instructions == text
    assert text.splitlines() == text.split("\n")
