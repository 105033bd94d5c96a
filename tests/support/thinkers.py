"""Tokenizers and a model of the kind that thinks before it answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from dspy_greater.model import WhiteBox
from tests.support.tiny import CHATML, make_model, make_tokenizer

ASSISTANT = "<|im_start|>assistant\n"
#: By who opens the block: the model; the model, unless thinking is turned off; the template.
TEMPLATES = {
    "model": CHATML,
    "switch": CHATML.replace(
        ASSISTANT,
        ASSISTANT + "{% if enable_thinking is defined and enable_thinking is false %}"
        "<think>\n\n</think>\n\n{% endif %}",
    ),
    "template": CHATML.replace(ASSISTANT, ASSISTANT + "<think>\n"),
}


def thinking_tokenizer(template: str = "model") -> Any:
    """The tiny tokenizer with marks for a block; each is one token, and not a special one."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.chat_template = TEMPLATES[template]
    return tokenizer


def reciting(tokenizer: Any, script: Sequence[int]) -> WhiteBox:
    """A Llama whose likeliest next token is the one that follows in a script of distinct tokens.

    Its layers add nothing, so that the head sees the last token alone.
    """
    assert len(set(script)) == len(script)
    size = len(tokenizer)
    model = make_model("llama", size, hidden_size=-size % 8 + size, num_attention_heads=2)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding = torch.eye(size, model.config.hidden_size)
        model.model.embed_tokens.weight.copy_(embedding)
        model.lm_head.weight.zero_()
        for token, following in pairwise(script):
            model.lm_head.weight[following] = embedding[token]
    return WhiteBox(model, tokenizer, name="reciter")
