"""A tiny model that answers by script: for compiles in which outputs have to parse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from dspy_greater import VerifiedConfig
from dspy_greater.model import Generation, WhiteBox
from dspy_greater.search.verified.requests import ALONE

#: A search of one step with one instruction, as small as one can be.
TINY = VerifiedConfig(max_steps=1, library=False, examples=0, asked=1, starts=1)
#: What the model writes where it is asked for an instruction.
WRITTEN = " Take care."


def play(
    monkeypatch: pytest.MonkeyPatch,
    reply: Callable[[str], str],
    write: Callable[[], str] = lambda: WRITTEN,
) -> list[str]:
    """Let every white box answer a prompt with ``reply(prompt)``; return the list of prompts.

    Where it is asked for an instruction, it answers with ``write()``.
    """
    prompts: list[str] = []

    def generate(
        self: WhiteBox, encoded: Sequence[Sequence[int]], samplings: Sequence[Any]
    ) -> list[Generation]:
        return [answer(self, ids) for ids in encoded]

    def answer(box: WhiteBox, asked: Sequence[int]) -> Generation:
        prompt = box.encoder.decode(asked)
        if ALONE in prompt or not prompt.endswith("<|im_start|>assistant\n"):
            text = write()
        else:
            prompts.append(prompt)
            text = reply(prompt)
        ids = box.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
        thinking = box.encoder.thinking
        block = thinking.length(asked, ids) if thinking else 0
        thought = thinking.text(ids[:block]) if thinking else ""
        text = box.encoder.decode(ids[block:])
        return Generation(tuple(ids), text, "stop", block=block, thinking=thought)

    monkeypatch.setattr(WhiteBox, "generate", generate)
    return prompts


def chat(values: Mapping[str, str | Callable[[str], str]]) -> Callable[[str], str]:
    """Return a reply in ChatAdapter's format with the fields that a prompt asks for."""

    def reply(prompt: str) -> str:
        asked = prompt.rsplit("Respond with the corresponding output fields", 1)[1]
        names = re.findall(r"`\[\[ ## (\w+) ## \]\]`", asked)
        lines = []
        for name in names[:-1]:  # the last is "completed"
            value = values[name]
            lines.append(f"[[ ## {name} ## ]]\n{value(prompt) if callable(value) else value}")
        return "\n\n".join([*lines, "[[ ## completed ## ]]"])

    return reply


def number(prompt: str) -> int:
    """Return the number that a question of ``tests.support.compiling.examples`` is about."""
    return int(re.findall(r"What is (\d+) \+ 3", prompt)[-1])


def one_right(prompt: str) -> str:
    """Answer the first question of ``tests.support.compiling.examples`` right, and no other."""
    return "0" if number(prompt) else "3"
