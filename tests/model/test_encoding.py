"""Spans of tokens are exact, for every kind of tokenizer."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from dspy_greater.basics.spans import Message, Span, TextSpan
from dspy_greater.model.encoding import ChatEncoder, token_offsets, tokens_over
from tests.support.small_tokenizers import KINDS
from tests.support.tiny import make_tokenizer

REAL = ("tokenizers/gpt2", "tokenizers/qwen2.5", "models/tiny1m")
BOS = "{{ bos_token }}"


@cache
def encoder_of(kind: str) -> ChatEncoder:
    return ChatEncoder(KINDS[kind]())


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def check_cover(encoder: ChatEncoder, text: str, start: int, end: int) -> None:
    """The first and the last token of the span share a character with ``text[start:end]``."""
    encoding = encoder.encode([user(text)], spans={"part": TextSpan(0, start, end)}, open_end=True)
    ids, span = encoding.ids, encoding.spans["part"]
    whole = encoder.decode(ids)
    assert whole.endswith(text)
    shift = len(whole) - len(text)  # what BOS and a prepended space add

    def complete(count: int) -> int:
        """Characters of the text that the first ``count`` tokens spell out completely."""
        return len(encoder.decode(ids[:count]).rstrip("\ufffd")) - shift

    def begun(count: int) -> int:
        """Characters of the text that the first ``count`` tokens at least begin."""
        return len(encoder.decode(ids[:count])) - shift

    assert text[start:end] in encoder.decode(ids[slice(*span)], after=ids[: span.start])
    assert complete(span.start) <= start < begun(span.start + 1)
    assert complete(span.end) >= end > complete(span.end - 1)


WORDS = st.sampled_from(
    ["the", " the", "  ", "\n", " \n\n", "answer", "[[ ## x ## ]]", "7", "€", "😀", "né", "'t", "."]
)
TEXTS = st.lists(
    WORDS | st.characters(exclude_categories=("Cs", "Cc", "Mn"), exclude_characters="\ufffd▁"),
    min_size=1,
    max_size=12,
).map(lambda parts: unicodedata.normalize("NFC", "".join(parts)))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_span_covers_its_text_and_only_neighbours_in_the_same_token(kind: str, data: Any) -> None:
    text = data.draw(TEXTS)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    check_cover(encoder_of(kind), text, start, end)


@pytest.mark.parametrize("folder", REAL)
def test_spans_on_real_tokenizers(shared: Any, folder: str) -> None:
    if not (shared / folder).is_dir():
        pytest.skip(f"no {folder} among the shared assets")
    encoder = ChatEncoder(AutoTokenizer.from_pretrained(shared / folder))
    encoder.tokenizer.chat_template = None
    text = "Think  carefully,\n\nthen answer: 42 € 😀 naïve don't  stop. "
    for start in range(0, len(text), 3):
        for end in range(start + 1, len(text) + 1, 7):
            check_cover(encoder, text, start, end)


def test_offsets_that_leave_out_spaces_are_closed() -> None:
    # "hello world  !", as a byte-level tokenizer with trim_offsets reports it.
    pieces = ["hello", "Ġworld", "Ġ", "Ġ", "!"]
    reported = [(0, 5), (6, 11), (12, 12), (13, 13), (13, 14)]
    assert token_offsets(pieces, reported) == [(0, 5), (5, 11), (11, 12), (12, 13), (13, 14)]
    assert token_offsets(["Ġ", "Ġ"], [(0, 0), (2, 2)]) == [(0, 1), (1, 2)]


def test_a_blank_of_the_tokenizers_own_stands_for_nothing() -> None:
    found = token_offsets(["▁", "x", "▁"], [(0, 1), (0, 1), (1, 2)])
    assert found == [(0, 0), (0, 1), (1, 2)]


def test_bytes_of_one_character_are_all_covered() -> None:
    assert tokens_over([(0, 1), (1, 2), (1, 2), (2, 3)], 1, 2) == Span(1, 3)


def test_an_empty_text_has_an_empty_span_at_its_place() -> None:
    assert tokens_over([(0, 2), (2, 4)], 2, 2) == Span(1, 1)
    assert tokens_over([(0, 2), (2, 4)], 4, 4) == Span(2, 2)


def test_spans_in_messages_and_in_the_completion(tiny_tokenizer: Any) -> None:
    encoder = ChatEncoder(tiny_tokenizer)
    messages: list[Message] = [
        {"role": "system", "content": "Solve the problem. Solve it."},
        {"role": "user", "content": "Solve the problem: 2 + 3"},
    ]
    completion = "[[ ## answer ## ]]\n5 5"
    encoding = encoder.encode(
        messages,
        completion=completion,
        spans={
            "instruction": TextSpan(0, 19, 28),
            "question": TextSpan(1, 0, 5),
            "answer": TextSpan(2, len(completion) - 1, len(completion)),
        },
    )
    texts = {n: encoder.decode(encoding.ids[slice(*s)]) for n, s in encoding.spans.items()}
    assert texts["instruction"].strip() == "Solve it."
    assert texts["question"].strip() == "Solve"
    assert texts["answer"].strip() == "5"
    assert encoding.spans["answer"].end == len(encoding.ids)
    assert encoding.spans["instruction"].end < encoding.spans["question"].start
    whole = encoder.decode(encoding.ids)
    assert whole == (
        "<|im_start|>system\nSolve the problem. Solve it.<|im_end|>\n"
        "<|im_start|>user\nSolve the problem: 2 + 3<|im_end|>\n"
        f"<|im_start|>assistant\n{completion}"
    )


def test_what_a_borders_token_holds_beside_its_span_is_told() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["aim: Solve", "it.Go"])
    text = "The aim: Solve it.Go on."
    start, end = text.index("Solve"), text.index("Go")

    def beside(start: int, end: int) -> str:
        encoding = ChatEncoder(tokenizer).encode(
            [{"role": "user", "content": text}], spans={"it": TextSpan(0, start, end)}
        )
        return encoding.overhang["it"]

    assert beside(start, end) == "aim: Go"
    assert beside(start, start + 5) == "aim: "
    assert beside(text.index("on"), len(text)).strip() == ""
    assert beside(0, len(text)) == ""


def test_an_open_end_stops_right_after_the_last_content(tiny_tokenizer: Any) -> None:
    encoder = ChatEncoder(tiny_tokenizer)
    encoding = encoder.encode([user("Give the "), user("Solve the ")], open_end=True)
    assert encoder.decode(encoding.ids).endswith("<|im_start|>user\nSolve the ")


@pytest.mark.parametrize("kind", ["llama", "gemma"])
@pytest.mark.parametrize(
    "template",
    [
        pytest.param(None, id="no template"),
        pytest.param(
            BOS + "{% for m in messages %}{{ m['content'] }}\n{% endfor %}", id="writes BOS"
        ),
        pytest.param("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", id="forgets BOS"),
    ],
)
def test_bos_stands_first_exactly_once(kind: str, template: str | None) -> None:
    tokenizer = KINDS[kind]()
    tokenizer.chat_template = template
    ids = ChatEncoder(tokenizer).encode([user("What is it?")], completion="It is 5.").ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.eos_token_id not in ids


def test_decoding_after_other_tokens_keeps_the_space_of_a_word() -> None:
    encoder = encoder_of("llama")
    ids = encoder.encode([user("the answer")], open_end=True).ids
    word = next(i for i in range(len(ids)) if encoder.decode(ids[i:]).strip() == "answer")
    assert encoder.decode(ids[word:]) == "answer"
    assert encoder.decode(ids[word:], after=ids[:word]) == " answer"


def test_decoding_completes_a_character_begun_before() -> None:
    encoder = encoder_of("gpt2")
    ids = encoder.encode([user("a😀b")], open_end=True).ids
    assert encoder.decode(ids[2:], after=ids[:2]) == "😀b"


@pytest.mark.parametrize(
    ("spans", "options", "message"),
    [
        ({"x": TextSpan(1, 0, 1)}, {}, "outside of the messages: .*message=1"),
        ({"x": TextSpan(0, 0, 99)}, {}, "outside"),
        ({}, {"completion": "yes", "open_end": True}, "open_end"),
    ],
)
def test_senseless_calls_are_refused(
    tiny_tokenizer: Any, spans: Any, options: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ChatEncoder(tiny_tokenizer).encode([user("Hi")], spans=spans, **options)
