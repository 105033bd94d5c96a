"""Chat templates of every temper, and models without one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from dspy_greater.basics.spans import Message, TextSpan
from dspy_greater.model.encoding import ChatEncoder
from dspy_greater.model.errors import TemplateError
from tests.support.templates import LOOP, TEMPLATES, TURN
from tests.support.tiny import CHATML, make_tokenizer

MESSAGES: list[Message] = [
    {"role": "system", "content": "  Solve it. Solve it.  "},
    {"role": "user", "content": "Solve it."},
    {"role": "assistant", "content": "Solve it."},
    {"role": "user", "content": "Solve it. \n"},
]


@pytest.fixture
def encoder_with() -> Callable[[str | None], ChatEncoder]:
    def build(template: str | None) -> ChatEncoder:
        tokenizer = make_tokenizer()
        tokenizer.chat_template = template
        return ChatEncoder(tokenizer)

    return build


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_message_comes_through_and_repeated_text_does_not_fool_location(
    encoder_with: Callable[[str | None], ChatEncoder], name: str
) -> None:
    encoder = encoder_with(TEMPLATES[name])
    # Every message contains "Solve it."; the second one of message 0 starts at character 12.
    starts = {"first": (0, 2), "second": (0, 12), "user": (1, 0), "demo": (2, 0), "last": (3, 0)}
    spans = {n: TextSpan(message, at, at + 9) for n, (message, at) in starts.items()}
    encoding = encoder.encode(MESSAGES, spans=spans, completion="Solve it.")
    found = [encoding.spans[n] for n in starts]
    assert found == sorted(found)
    assert all(left.end <= right.start for left, right in pairwise(found))
    for span in found:
        assert encoder.decode(encoding.ids[slice(*span)]).strip() == "Solve it."
    assert encoder.decode(encoding.ids).count("Solve it.") == 6


@pytest.mark.parametrize("name", ["raises on a system message", "drops a system message"])
def test_a_system_text_without_a_role_heads_the_user_turn(
    encoder_with: Callable[[str | None], ChatEncoder], name: str
) -> None:
    encoder = encoder_with(TEMPLATES[name])
    ids = encoder.encode([{"role": "system", "content": "Be brief."}, MESSAGES[1]]).ids
    assert encoder.decode(ids) == (
        "<|im_start|>user\nBe brief.\n\nSolve it.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_text_alone_becomes_the_user_turn(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder = encoder_with(TEMPLATES["puts the system message into the user turn"])
    ids = encoder.encode([{"role": "system", "content": "Solve the"}], open_end=True).ids
    assert encoder.decode(ids) == "[INST] Solve the"


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_open_end_keeps_a_trailing_space_that_the_template_trims(
    encoder_with: Callable[[str | None], ChatEncoder], name: str
) -> None:
    encoder = encoder_with(TEMPLATES[name])
    messages: list[Message] = [*MESSAGES[:3], {"role": "user", "content": "Solve the "}]
    encoding = encoder.encode(messages, open_end=True, spans={"x": TextSpan(3, 6, 10)})
    assert encoder.decode(encoding.ids).endswith("Solve the ")
    assert encoding.spans["x"].end == len(encoding.ids)


def test_a_span_in_trimmed_white_space_is_empty_or_clipped(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder = encoder_with(TEMPLATES["trims"])
    encoding = encoder.encode(
        MESSAGES, spans={"blank": TextSpan(0, 0, 2), "most": TextSpan(0, 0, 11)}
    )
    assert encoding.spans["blank"].start == encoding.spans["blank"].end
    assert encoder.decode(encoding.ids[slice(*encoding.spans["most"])]).strip() == "Solve it."


def test_the_space_between_prompt_and_answer_is_the_templates(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder = encoder_with(TEMPLATES["puts the system message into the user turn"])
    ids = encoder.encode(MESSAGES[1:2], completion="It is 5.").ids
    assert encoder.decode(ids) == "[INST] Solve it. [/INST] It is 5."


def test_a_template_that_rewrites_a_needed_text_is_an_error(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder = encoder_with(LOOP % ("messages", TURN % "m['content'] | upper"))
    assert encoder.encode(MESSAGES).ids  # nothing to locate: no complaint
    with pytest.raises(TemplateError, match="changes the text of message 1"):
        encoder.encode(MESSAGES, spans={"x": TextSpan(1, 0, 5)})


def test_a_refusing_template_is_named(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder = encoder_with("{{ raise_exception('Roles must alternate') }}")
    with pytest.raises(TemplateError, match=r"\[user\].*Roles must alternate"):
        encoder.encode(MESSAGES[1:2])


def test_without_a_template_contents_stand_between_blank_lines(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder = encoder_with(None)
    ids = encoder.encode(MESSAGES[1:3], completion="Yes").ids
    assert encoder.decode(ids) == "Solve it.\n\nSolve it.\n\nYes"


def test_the_end_of_turn_is_read_off_the_template(
    encoder_with: Callable[[str | None], ChatEncoder],
) -> None:
    encoder: Any = encoder_with(CHATML)
    assert encoder.end_of_turn == encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encoder_with(None).end_of_turn is None
    assert encoder_with("{{ messages[-1]['content'] }}").end_of_turn is None
