"""What a reasoning model thinks before it answers: told apart, written again, never a stop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspy_greater.basics.spans import THINKING, Message, TextSpan
from dspy_greater.model import Sampling, WhiteBox
from dspy_greater.model.encoding import ChatEncoder
from dspy_greater.model.thinking import Block, Thinking
from tests.support.thinkers import TEMPLATES, reciting, thinking_tokenizer
from tests.support.tiny import make_model, make_tokenizer

ASK = [Message(role="user", content="What is 2 + 3?")]
TEXTS = st.text(st.sampled_from("ab 2.\n[]#"), max_size=20)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_marks_are_those_that_a_tokenizer_has_tokens_for() -> None:
    thinking = Thinking.of(thinking_tokenizer())
    assert thinking is not None
    assert thinking.marks == ("<think>", "</think>")
    assert Thinking.of(make_tokenizer()) is None  # the text "<think>" is no mark there
    half = make_tokenizer()
    half.add_tokens(["<think>"])
    assert Thinking.of(half) is None


@pytest.mark.parametrize(
    ("prompt", "text", "thought", "answer"),
    [
        ("assistant\n", "<think>\nIt is 5.\n</think>\n\nfive", "It is 5.", "five"),
        ("assistant\n", "\n<think>It is 5.</think>five", "It is 5.", "five"),
        ("assistant\n", "five", "", "five"),
        ("assistant\n", "five <think>It is 5.</think>", "", "five <think>It is 5.</think>"),
        ("assistant\n", "five</think>", "", "five</think>"),
        ("assistant\n", "<think>\nIt is", "It is", ""),  # never came to an end
        ("assistant\n", "<think>\n\n</think>\n\nfive", "", "five"),
        ("assistant\n<think>\n", "It is 5.\n</think>\n\nfive", "It is 5.", "five"),
        ("assistant\n<think>", "It is", "It is", ""),
        ("assistant\n<think>\n\n</think>\n\n", "five", "", "five"),
        ("What does <think> mean?\nassistant\n", "five", "", "five"),
    ],
)
def test_what_was_thought_is_told_from_the_answer(
    prompt: str, text: str, thought: str, answer: str
) -> None:
    tokenizer = thinking_tokenizer()
    thinking = Thinking.of(tokenizer)
    assert thinking is not None
    ids = ids_of(tokenizer, text)
    block = thinking.length(ids_of(tokenizer, prompt), ids)
    assert thinking.text(ids[:block]) == thought
    assert tokenizer.decode(ids[block:]) == answer


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a"]), max_size=8),
    st.sampled_from(["assistant\n", "assistant\n<think>\n"]),
)
def test_token_by_token_a_row_thinks_as_it_does_in_the_whole(
    pieces: list[str], prompt: str
) -> None:
    tokenizer = thinking_tokenizer()
    thinking = Thinking.of(tokenizer)
    assert thinking is not None
    ids = [token for piece in pieces for token in ids_of(tokenizer, piece)]
    before = ids_of(tokenizer, prompt)
    block = Block(thinking, before)
    for count, token in enumerate(ids, start=1):
        block.read(token)
        whole = thinking.length(before, ids[:count])
        begun = whole > 0 or thinking.begun(before)
        assert block.is_open == (begun and thinking.close not in ids[:count])
        assert block.length <= whole


@pytest.mark.parametrize("template", TEMPLATES)
@given(thought=TEXTS.map(str.strip), answer=TEXTS.map(str.strip).filter(bool))
@settings(max_examples=40, deadline=None)
def test_what_was_thought_is_written_as_the_model_would(
    template: str, thought: str, answer: str
) -> None:
    tokenizer = thinking_tokenizer(template)
    encoder = ChatEncoder(tokenizer)
    prompt = encoder.encode(ASK).ids
    spans = {"answer": TextSpan(1, 0, len(answer))}
    whole = encoder.encode(ASK, completion=answer, thinking=thought, spans=spans)
    assert whole.ids[: len(prompt)] == prompt
    written = list(whole.ids[len(prompt) :])
    thinking = encoder.thinking
    assert thinking is not None
    block = thinking.length(prompt, written)
    assert thinking.text(written[:block]) == thought
    assert tokenizer.decode(written[block:]) == answer
    assert whole.spans["answer"] == (len(prompt) + block, len(whole.ids))
    if thought:
        assert whole.spans[THINKING] == (len(prompt), len(prompt) + block)
    else:
        assert THINKING not in whole.spans


def test_where_thinking_is_turned_off_nothing_is_thought() -> None:
    encoder = ChatEncoder(thinking_tokenizer("switch"), {"enable_thinking": False})
    prompt = encoder.decode(encoder.encode(ASK).ids)
    assert prompt.endswith("<think>\n\n</think>\n\n")
    whole = encoder.encode(ASK, completion="five", thinking="It is 5.")
    assert encoder.decode(whole.ids) == prompt + "five"


def test_a_model_without_marks_writes_no_block() -> None:
    encoder = ChatEncoder(make_tokenizer())
    assert encoder.encode(ASK, completion="five", thinking="It is 5.") == encoder.encode(
        ASK, completion="five"
    )


def test_generation_tells_thoughts_from_the_answer_and_stops_in_the_answer_alone() -> None:
    tokenizer = thinking_tokenizer()
    script = ids_of(tokenizer, "\n<think>fox.</think> The quick brown")
    white_box = reciting(tokenizer, [*script, tokenizer.eos_token_id])
    prompt = white_box.encode(ASK).ids
    assert prompt[-1] == script[0]

    def say(**limits: Any) -> tuple[str, str, str]:
        (said,) = white_box.generate([prompt], [Sampling(**limits)])
        assert tokenizer.decode(said.ids[said.block :]).startswith(said.text)
        return said.thinking, said.text, said.finish

    assert say() == ("fox.", " The quick brown", "stop")
    assert say(stop=("fox", "k>")) == ("fox.", " The quick brown", "stop")
    assert say(stop=("fox", "quick")) == ("fox.", " The ", "stop")
    assert say(max_tokens=2) == ("f", "", "length")
    words = ("The", "he q", "brown", "slow")
    many = white_box.generate([prompt] * 4, [Sampling(20, stop=("ox", word)) for word in words])
    assert [each.text for each in many] == [" ", " T", " The quick ", " The quick brown"]
    assert {each.thinking for each in many} == {"fox."}


def test_settings_of_the_template_make_another_model() -> None:
    tokenizer = thinking_tokenizer("switch")
    model = make_model("llama", len(tokenizer))
    on = WhiteBox(model, tokenizer)
    off = WhiteBox(model, tokenizer, chat_template_kwargs={"enable_thinking": False})
    assert on.thinks
    assert on.fingerprint == WhiteBox(model, tokenizer).fingerprint != off.fingerprint
    assert off.encoder.decode(off.encode(ASK).ids).endswith("</think>\n\n")
