"""Which tokens an instruction may be made of."""

from __future__ import annotations

import re
from typing import Any

import torch

# What DSPy's adapters build their prompts from: an instruction that contained it could be mistaken
# for a field header (chat), a tag (XML), an object (JSON) or a code fence.
MARKUP = ("[[", "]]", "##", "<", ">", "{", "}", "`")
# Byte-fallback tokens stand for single bytes; readable text is never tokenised into them.
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def allowed_tokens(tokenizer: Any, vocab_size: int, *, ascii_only: bool = True) -> torch.Tensor:
    """Mark the tokens that are plain, printable text.

    Args:
        tokenizer: A fast tokenizer.
        vocab_size: Rows of the embedding; may exceed the tokenizer's vocabulary (padding rows).
        ascii_only: Leave out text beyond ASCII.

    Returns:
        Bool tensor ``[vocab]``: False for special and added tokens, parts of UTF-8 characters,
        control characters and line breaks, adapter markup, and tokens of white space only.
    """
    size = min(vocab_size, len(tokenizer))
    refused = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    names = tokenizer.convert_ids_to_tokens(list(range(size)))
    texts = tokenizer.batch_decode(
        [[i] for i in range(size)], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    mask = torch.zeros(vocab_size, dtype=torch.bool)
    for token, (name, text) in enumerate(zip(names, texts, strict=True)):
        if token in refused or name is None or BYTE_TOKEN.fullmatch(name):
            continue
        mask[token] = is_plain_text(text) and (text.isascii() or not ascii_only)
    return mask


def is_plain_text(text: str) -> bool:
    """Whether ``text`` is printable, complete and free of adapter markup."""
    return (
        bool(text.strip())
        and text.isprintable()  # false for line breaks, control characters, U+2028 …
        and "\ufffd" not in text  # the decoder's mark for an incomplete UTF-8 sequence
        and not any(markup in text for markup in MARKUP)
    )
