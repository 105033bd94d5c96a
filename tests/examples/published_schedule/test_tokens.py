"""Tokens an instruction may be made of, and instructions as tokens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dspy_greater.basics.scripts import scripts_of
from dspy_greater.model import WhiteBox
from examples.published_schedule.tokens import (
    MARKUP,
    allowed_tokens,
    is_plain_text,
    proposals,
    text_of,
)
from tests.search.test_survivors import view_with
from tests.search.test_view import START, view_of
from tests.support.marks import slow
from tests.support.small_tokenizers import KINDS


def model_of(tokenizer: Any, vocab: int) -> Any:
    """Return what of a model a mask is made from."""
    return SimpleNamespace(encoder=SimpleNamespace(tokenizer=tokenizer), vocab_size=vocab)


def check_mask(tokenizer: Any, vocab: int) -> list[str]:
    """Check what must hold of every mask; returns the allowed texts."""
    mask = allowed_tokens(model_of(tokenizer, vocab))
    assert mask.shape == (vocab,)
    allowed = mask.nonzero()[:, 0].tolist()
    texts = tokenizer.batch_decode([[token] for token in allowed])
    for text in texts:
        assert text.strip()
        assert text.isprintable()
        assert not scripts_of(text)
        assert not any(markup in text for markup in MARKUP)
    assert not set(allowed) & (set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder))
    assert max(allowed) < len(tokenizer)
    return texts


@pytest.mark.parametrize("kind", KINDS)
def test_allowed_tokens_are_plain_text(kind: str) -> None:
    tokenizer = KINDS[kind]()
    texts = check_mask(tokenizer, len(tokenizer) + 13)  # padding rows are not allowed
    assert "answer" in {text.strip() for text in texts}


@pytest.mark.parametrize("folder", ["tokenizers/gpt2", slow("tokenizers/qwen2.5"), "models/tiny1m"])
def test_allowed_tokens_of_real_vocabularies(shared: Any, folder: str) -> None:
    if not (shared / folder).is_dir():
        pytest.skip(f"no {folder} among the shared assets")
    tokenizer = AutoTokenizer.from_pretrained(shared / folder)
    texts = check_mask(tokenizer, len(tokenizer))
    assert len(texts) > 200
    assert "the" in {text.strip() for text in texts}


def test_byte_tokens_are_not_text() -> None:
    tokenizer = KINDS["llama"]()
    mask = allowed_tokens(model_of(tokenizer, len(tokenizer)))
    assert not mask[tokenizer.convert_tokens_to_ids("<0x41>")]


def test_a_row_without_a_token_is_not_allowed(white_box: WhiteBox) -> None:
    mask = allowed_tokens(white_box)
    assert mask.shape == (white_box.vocab_size,)
    assert not mask[len(white_box.encoder.tokenizer) :].any()


def test_tokens_have_a_text_if_they_are_its_own(white_box: WhiteBox) -> None:
    there = view_of(white_box)
    assert text_of(there, there.tokens(START)) == START
    assert text_of(there, white_box.encode([{"role": "user", "content": "x"}]).ids) is None


@pytest.mark.parametrize("kind", KINDS)
def test_no_tokens_give_half_a_character(kind: str) -> None:
    """These tokenizers write a Chinese character in three tokens."""
    view = view_with(KINDS[kind]())
    view.scripts = scripts_of("回答")
    tokens = view.tokens("回答 it")
    texts = [text_of(view, tokens[:i] + tokens[i + 1 :]) for i in range(len(tokens))]
    assert any(texts)
    assert not any("\ufffd" in text or "<0x" in text for text in texts if text)


def test_an_instruction_is_read_behind_each_input(white_box: WhiteBox) -> None:
    there = view_of(white_box)
    items = proposals(there, START, [0, 1])
    for item, context in zip(items, there.contexts([0, 1]), strict=True):
        assert item.ids == (*context, *there.tokens(START))
        assert item.targets == item.inputs == (len(context), len(item.ids))


def test_single_tokens_are_of_the_scripts() -> None:
    names = ["?", "yes", "wähle", "…", "“", "回答", "。", "да", "👍", "да回", "\ufffd", "[["]
    vocabulary = models.WordLevel({t: i for i, t in enumerate(names)}, unk_token="?")
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(vocabulary), unk_token="?")

    def allowed(*scripts: str) -> set[str]:
        mask = allowed_tokens(model_of(words, len(words)), frozenset(scripts))
        return {names[token] for token in mask.nonzero()[:, 0].tolist()}

    latin = {"yes", "wähle", "…", "“"}
    assert allowed() == latin
    assert allowed("cjk") == latin | {"回答", "。"}
    assert allowed("cyrillic", "pictures") == latin | {"да", "👍"}


@pytest.mark.parametrize("text", ["", " ", "\n", "a\tb", "\u2028", "\x0c", "�", "[[", "x`y", "</"])
def test_what_is_not_plain_text(text: str) -> None:
    assert not is_plain_text(text)
