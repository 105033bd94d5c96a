"""Tokens an instruction may be made of."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoTokenizer

from dspy_greater.basics.scripts import scripts_of
from dspy_greater.model import WhiteBox
from dspy_greater.model.encoding import MARKUP, allowed_tokens, is_plain_text
from tests.support.marks import slow
from tests.support.small_tokenizers import KINDS


def check_mask(tokenizer: Any, vocab: int) -> list[str]:
    """Check what must hold of every mask; returns the allowed texts."""
    mask = allowed_tokens(tokenizer, vocab)
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
    mask = allowed_tokens(tokenizer, len(tokenizer))
    assert not mask[tokenizer.convert_tokens_to_ids("<0x41>")]


@pytest.mark.parametrize("text", ["", " ", "\n", "a\tb", "\u2028", "\x0c", "�", "[[", "x`y", "</"])
def test_what_is_not_plain_text(text: str) -> None:
    assert not is_plain_text(text)


def test_the_mask_is_made_once(white_box: WhiteBox) -> None:
    assert white_box.allowed_tokens() is white_box.allowed_tokens()
    assert white_box.allowed_tokens().shape == (white_box.vocab_size,)
