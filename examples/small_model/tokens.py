"""The tokenizer: byte-level BPE in which DSPy's boilerplate is made of single tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from examples.small_model.rows import (
    ASSISTANT,
    CHAT_TEMPLATE,
    END,
    PAD,
    SYSTEM,
    USER,
    boilerplate,
    rows,
)
from examples.small_model.wording import vocabulary

VOCABULARY_SIZE = 2048  # At most; the words of the rows need fewer.
MAX_LENGTH = 1024
# Words carry their leading space, digits stand alone.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+| ?\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _corpus(seed: int, count: int) -> Iterator[str]:
    """Yields the varying parts of rows, and every word of the instructions."""
    fixed = set(boilerplate())
    for row in islice(rows(seed), count):
        yield from (piece.text for piece in row if piece.text.strip() not in fixed)
    words = vocabulary()
    random.Random(seed).shuffle(words)
    yield from (f" {word}" for word in words for _ in range(200))
    yield from (f" {word.capitalize()}" for word in words for _ in range(60))


def train_tokenizer(seed: int, count: int = 20_000) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on rows drawn with a seed."""
    special = [PAD, END, SYSTEM, USER, ASSISTANT]
    plain = boilerplate()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(plain),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(seed, count), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in plain])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
