"""Instructions as tokens: which may stand in one, which ids are a text's own, and its contexts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dspy_greater.basics.scripts import scripts_of
from dspy_greater.basics.spans import Span
from dspy_greater.model import Targeted, WhiteBox

if TYPE_CHECKING:
    from dspy_greater.search.view import PredictorView

# What DSPy's adapters build their prompts from: an instruction that contained it could be mistaken
# for a field header (chat), a tag (XML), an object (JSON) or a code fence.
MARKUP = ("[[", "]]", "##", "<", ">", "{", "}", "`")
# Byte-fallback tokens stand for single bytes; readable text is never tokenised into them.
BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def allowed_tokens(model: WhiteBox, scripts: frozenset[str] = frozenset()) -> torch.Tensor:
    """Mark the tokens that are plain text in Latin or the given scripts, bool ``[vocab]``.

    False are special and added tokens, parts of UTF-8 characters, control characters and line
    breaks, adapter markup, white space alone, and rows of the embedding without a token.
    """
    tokenizer = model.encoder.tokenizer
    size = min(model.vocab_size, len(tokenizer))
    refused = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    names = tokenizer.convert_ids_to_tokens(list(range(size)))
    texts = tokenizer.batch_decode(
        [[i] for i in range(size)], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    mask = torch.zeros(model.vocab_size, dtype=torch.bool)
    for token, (name, text) in enumerate(zip(names, texts, strict=True)):
        if token in refused or name is None or BYTE_TOKEN.fullmatch(name):
            continue
        mask[token] = is_plain_text(text) and scripts_of(text) <= scripts
    return mask


def is_plain_text(text: str) -> bool:
    """Whether ``text`` is printable, complete and free of adapter markup."""
    return (
        bool(text.strip())
        and text.isprintable()  # false for line breaks, control characters, U+2028 …
        and "\ufffd" not in text  # the decoder's mark for an incomplete UTF-8 sequence
        and not any(markup in text for markup in MARKUP)
    )


def text_of(view: PredictorView, tokens: Sequence[int]) -> str | None:
    """Return the instruction that, rendered and tokenised as a whole, has exactly these ids."""
    text = view.instruction(view.model.encoder.decode(tokens))
    return text if text is not None and view.tokens(text) == tuple(tokens) else None


def proposals(view: PredictorView, instruction: str, examples: Sequence[int]) -> list[Targeted]:
    """Return, per example, its inputs followed by the instruction, which is the target."""
    tokens = view.tokens(instruction)
    items = []
    for context in view.contexts(examples):
        span = Span(len(context), len(context) + len(tokens))
        items.append(Targeted((*context, *tokens), targets=span, inputs=span))
    return items
