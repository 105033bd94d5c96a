"""A reasoning model through a whole compile: what it thinks is scored with what it answers."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspy_greater import GreaterTeleprompter, local_lm
from dspy_greater.model import WhiteBox
from examples.published_schedule import PaperConfig
from examples.published_schedule.white_box import GradientBox
from tests.support.compiling import examples, metric
from tests.support.scripted import TINY, chat, one_right, play
from tests.support.thinkers import thinking_tokenizer
from tests.support.tiny import make_model

ANSWER = chat({"reasoning": "r", "answer": one_right})


def thinker() -> dspy.LM:
    tokenizer = thinking_tokenizer()
    return local_lm((make_model("llama", len(tokenizer)), tokenizer), cache=False)


def test_thoughts_are_scored_with_the_answers_that_followed_from_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    play(monkeypatch, lambda prompt: f"<think>\nSo be it.\n</think>\n\n{ANSWER(prompt)}")
    read: list[str] = []
    for box, name in ((WhiteBox, "log_probs"), (GradientBox, "gradients")):
        plain = getattr(box, name)

        def spied(self: WhiteBox, items: Any, *args: Any, plain: Any = plain, **kw: Any) -> Any:
            read.extend(self.encoder.decode(item.ids) for item in items)
            return plain(self, items, *args, **kw)

        monkeypatch.setattr(box, name, spied)
    lm = thinker()
    program = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=lm):
        compiled = GreaterTeleprompter(
            metric=metric, schedule=PaperConfig(max_steps=1, top_k=3)
        ).compile(program, trainset=examples(10))
    assert compiled.detailed_results.parse_failures == 0
    answered = [text for text in read if "[[ ## answer ## ]]" in text.split("assistant\n")[-1]]
    assert answered
    assert all("<think>\nSo be it.\n</think>\n\n[[ ## reasoning" in text for text in answered)


def test_a_thought_that_never_ends_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda prompt: "<think>\nLet me see, and see, and")
    with dspy.context(lm=thinker()):
        compiled = GreaterTeleprompter(metric=metric, schedule=TINY).compile(
            dspy.ChainOfThought("question -> answer"), trainset=examples(10)
        )
    assert compiled.detailed_results.parse_failure_rate == 1
    assert "did not parse and counted as wrong" in compiled.detailed_results.summary()


def test_a_template_may_be_told_not_to_think() -> None:
    tokenizer = thinking_tokenizer("switch")
    pair = (make_model("llama", len(tokenizer)), tokenizer)
    thinks = local_lm(pair, max_tokens=4)
    answers = local_lm(pair, max_tokens=4, chat_template_kwargs={"enable_thinking": False})
    assert thinks.model != answers.model
    assert answers.engine.white_box.encoder.decode(
        answers.engine.white_box.encode([{"role": "user", "content": "Hi"}]).ids
    ).endswith("</think>\n\n")
