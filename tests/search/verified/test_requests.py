"""What a chat model is asked for, and how its answers are read."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from dspy_greater.search.verified.requests import Material, Rollouts, read, requests
from tests.support.fakes import FakeView, run_of

TASK = Material(
    instruction="Sort it.",
    second="Sort the mail.",
    fields=["kind"],
    labels=["spam", "ham"] * 5,
    solved=["text: win!\nkind: spam", "text: hello\nkind: ham"],
    failed=["text: free\nkind, wrong: ham\nkind, right: spam"],
)


def asked(material: Material, first: bool = True, count: int = 5) -> str:
    return "\n---\n".join(requests(material, first, count, random.Random(0)))


def test_the_first_step_asks_from_examples_labels_and_failures() -> None:
    texts = requests(TASK, True, 4, random.Random(0))
    examples, labels, failures, again = texts
    assert "text: win!\nkind: spam" in examples
    assert "how to find kind for other inputs" in examples
    assert "The only values of kind are: ham, spam." in labels
    assert "kind, wrong: ham\nkind, right: spam" in failures
    assert "Sort it." in failures
    assert again.startswith("Here are examples")
    assert all(text.endswith("Write the instruction alone.") for text in texts)


def test_later_ones_reword_and_combine_too() -> None:
    assert "in other words" not in asked(TASK)
    later = asked(TASK, first=False)
    assert "Say this instruction in other words:\n\nSort it." in later
    assert "1. Sort it.\n\n2. Sort the mail." in later
    assert "two good" not in asked(replace(TASK, second=""), first=False)


def test_what_is_not_known_is_not_asked_about() -> None:
    assert "only values" not in asked(replace(TASK, labels=["12", "7"]))
    assert "mistakes:" not in asked(replace(TASK, failed=[]))
    nothing = replace(TASK, solved=[], failed=[])
    assert requests(nothing, True, 4, random.Random(0)) == []
    assert len(requests(nothing, False, 4, random.Random(0))) == 4


def test_material_is_gathered_from_runs() -> None:
    runs = tuple(run_of(example, float(example == 0)) for example in range(2))
    found = Material.of(FakeView(size=2), Rollouts("read", (0, 1), runs))
    assert found.labels == ["0", "1"]
    assert found.solved == ["index: 0\nanswer: 0", "index: 1\nanswer: 1"]
    assert found.failed == ["index: 1\nanswer, wrong: (unreadable)\nanswer, right: 1"]


def test_a_predictor_that_was_not_called_has_nothing_to_show() -> None:
    class Skipped(FakeView):
        def texts(self, index: int) -> dict[str, str]:
            return {"index": str(index) if index else ""}

    runs = tuple(run_of(example, 0.0) for example in range(2))
    found = Material.of(Skipped(size=2), Rollouts("read", (0, 1), runs))
    assert found.labels == ["0", "1"]
    assert found.solved == ["index: 1\nanswer: 1"]
    assert len(found.failed) == 1


@pytest.mark.parametrize(
    ("answer", "instruction"),
    [
        ("Sort the mail.", "Sort the mail."),
        ('"Sort the mail."', "Sort the mail."),
        ("Instruction: Sort the mail.", "Sort the mail."),
        ("**Improved Instruction:**\n\nSort the mail.", "Sort the mail."),
        ("Sure, here is one:\n\nInstruction: Sort the mail.", "Sort the mail."),
        ("```text\nSort the mail.\nBe quick.\n```\nI hope it helps.", "Sort the mail.\nBe quick."),
        ('Say "spam" or "ham"', 'Say "spam" or "ham"'),
        ("", ""),
    ],
)
def test_an_answer_is_read_without_what_stands_around_it(answer: str, instruction: str) -> None:
    assert read(answer) == instruction


def test_what_was_cut_off_counts_up_to_its_last_sentence() -> None:
    assert read("Sort it. Then chec", whole=False) == "Sort it."
    assert read("1. Sort it\n2. Then chec", whole=False) == "1. Sort it"
    assert read("Sort it and", whole=False) == ""
