"""The typed example: its data, its metric, and a whole compile with a scripted model."""

from __future__ import annotations

import dspy
import pytest

from examples.typed_extraction import HASTE, NUMBERS, Order, Read, improve, messages, metric
from tests.support.compiling import lm_of
from tests.support.scripted import TINY, play


def test_messages_are_seeded_and_say_what_they_order() -> None:
    found = messages(30, seed=1)
    assert [e.message for e in found] == [e.message for e in messages(30, seed=1)]
    for example in found:
        order = example.order
        wanted = f"{NUMBERS[order.amount - 1]} {order.unit} of {order.goods}"
        assert wanted in example.message
        assert HASTE[example.due] in example.message


def test_every_value_counts_a_quarter() -> None:
    gold = messages(1, seed=0)[0]
    right = dspy.Prediction(order=gold.order, due=gold.due)
    assert metric(gold, right) == 1
    other = gold.order.model_copy(update={"amount": gold.order.amount + 1})
    assert metric(gold, dspy.Prediction(order=other, due=gold.due)) == 0.75


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [dspy.JSONAdapter(), dspy.ChatAdapter()], ids=["json", "chat"])
def test_a_compile_reads_and_scores_typed_answers(
    adapter: dspy.ChatAdapter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"order": Order(goods="tea", amount=3, unit="kg"), "due": "today"}
    play(monkeypatch, lambda prompt: adapter.format_assistant_message_content(Read, values))
    with dspy.context(lm=lm_of(), adapter=adapter):
        record = improve(schedule=TINY, max_examples=6, progress=False).detailed_results
    assert record.parse_failures == 0
    assert len(set(record.candidates[0].train_scores)) > 1
    assert "self: " in capsys.readouterr().out
