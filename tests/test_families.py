"""Every family of decoder-only models goes through a real compile, every stage of the search."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspy_greater import local_lm
from dspy_greater.lm import white_box
from tests.support.every_stage import check_every_stage, compiled_with
from tests.support.families import FAMILIES, SPECIAL
from tests.support.marks import mostly_slow, slow
from tests.support.templates import TEMPLATES
from tests.support.tiny import CHATML, make_model, make_tokenizer

#: Wide enough for an answer to see the instruction, and narrower than a prompt.
WINDOW = 64


def lm_of(family: str, template: str | None = CHATML, **changes: Any) -> dspy.LM:
    """The family's tiny model; what it writes is varied enough not to end at once."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    window = {"sliding_window": WINDOW} if "sliding_window" in SPECIAL[family] else {}
    sizes = {"initializer_range": 0.1, **window, **changes}
    model = make_model(family, len(tokenizer), **sizes)
    return local_lm((model, tokenizer), max_tokens=5, cache=False)


@pytest.mark.parametrize("family", mostly_slow(FAMILIES, "llama", "mamba"))
def test_every_family_goes_through_every_stage_of_a_compile(family: str) -> None:
    lm = lm_of(family)
    check_every_stage(compiled_with(lm), lm)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "tied"), [("llama", True), ("gpt2", False)])
def test_heads_may_be_tied_to_the_embedding_or_not(family: str, tied: bool) -> None:
    lm = lm_of(family, tie_word_embeddings=tied)
    model = white_box(lm).model
    weights = [m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings())]
    assert (weights[0] is weights[1]) == tied
    check_every_stage(compiled_with(lm), lm)


@pytest.mark.parametrize("name", ["none", slow("raises on a system message"), slow("trims")])
def test_chat_templates_may_lack_a_system_role_or_be_missing(name: str) -> None:
    lm = lm_of("llama", TEMPLATES[name])
    check_every_stage(compiled_with(lm), lm)
