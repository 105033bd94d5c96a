"""Instructions are written in the scripts of the program and its data, and never cut."""

from __future__ import annotations

from typing import Any, Literal

import dspy
import pytest

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from dspy_greater.basics.scripts import scripts_of
from dspy_greater.program.data import Data, scripts_in
from dspy_greater.search.verified.requests import read
from tests.search.test_survivors import view_with
from tests.support.scripted import chat, play
from tests.support.tiny import make_model, make_tokenizer

CHINESE, RUSSIAN = "判断这句话的情感，只回答“积极”或“消极”。", "Определи настроение."
GERMAN, CURLY = "Lies die Frage und wähle …", "Read it – then write “yes” or “no” — don’t guess…"


@pytest.mark.parametrize(
    ("text", "scripts"),
    [
        ("Read “it” – naïve, ≤ 3 → yes…", set()),
        ("Ça coûte 5 €, «œuvre» Łódź, Việt", set()),
        ("回答：“好”。", {"cjk"}),
        ("答えはカナで", {"cjk", "kana"}),
        ("한국어", {"hangul"}),
        ("سؤال ۱۲؟", {"arabic"}),
        ("Ответ हिन्दी", {"cyrillic", "devanagari"}),
        ("good 👍🏽", {"pictures"}),
    ],
)
def test_the_scripts_of_a_text(text: str, scripts: set[str]) -> None:
    assert scripts_of(text) == scripts


def test_a_text_is_kept_whole_or_not_at_all() -> None:
    view = view_with(make_tokenizer())
    for text in (GERMAN, CURLY, "Réponds « oui »."):
        assert view.instruction(text) == text
    for text in (CHINESE, RUSSIAN, "Read it 👍", "Half a character: \ufffd"):
        assert view.instruction(text) is None
    view.scripts = scripts_of("很好")
    assert view.instruction(CHINESE) == CHINESE
    assert view.instruction(RUSSIAN) is None


def test_an_answer_in_chinese_that_was_cut_off_counts_up_to_its_last_sentence() -> None:
    assert read("先读问题。再回答！然后", whole=False) == "先读问题。再回答！"
    assert read("「先读问题。」") == "先读问题。"
    assert read("„Lies die Frage.“") == "Lies die Frage."


def sentiment(chinese: bool) -> tuple[dspy.Module, list[dspy.Example]]:
    texts = ["很好", "太差", "不错", "糟糕"] if chinese else ["good", "bad", "fine", "awful"]
    data = [dspy.Example(text=t, label=str(i % 2)).with_inputs("text") for i, t in enumerate(texts)]
    signature: Any = dspy.Signature("text -> label", CHINESE if chinese else "Sort it.")
    return dspy.Predict(signature), data


@pytest.mark.parametrize(
    ("chinese", "scripts", "kept"),
    [(True, None, 4), (False, None, 2), (False, ["cjk", "cyrillic"], 4), (True, [], 2)],
)
def test_a_compile_follows_the_program_and_its_data(
    chinese: bool, scripts: Any, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = iter([GERMAN, "先读这句话，再选标签。", CURLY, "回答要短。"])
    play(monkeypatch, chat({"label": "2"}), write=lambda: next(written))
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer), max_position_embeddings=8192)
    lm = local_lm((model, tokenizer), max_tokens=6, cache=False)
    student, data = sentiment(chinese)
    config = VerifiedConfig(max_steps=1, asked=4, starts=0, library=False, examples=0)
    with dspy.context(lm=lm):
        record = (
            GreaterTeleprompter(
                lambda example, prediction, trace=None: example.label == prediction.label,
                schedule=config,
                scripts=scripts,
                progress=False,
            )
            .compile(student, trainset=data[:2], valset=data[2:])
            .detailed_results
        )
    tried = [each.instruction for each in record.candidates if each.kind == "asked"]
    assert len(tried) == kept
    assert set(tried) <= {GERMAN, CURLY, "先读这句话，再选标签。", "回答要短。"}


def test_whatever_the_program_says_counts() -> None:
    """Field descriptions, types, demos and labels, too."""

    class Sorted(dspy.Signature):
        """Sort it."""

        text: str = dspy.InputField(desc="текст")
        label: Literal["よい", "bad"] = dspy.OutputField()

    program = dspy.Predict(Sorted)
    program.demos = [dspy.Example(text="سؤال", label="bad")]
    data = [dspy.Example(text=t, label="bad").with_inputs("text") for t in ("좋다", "👍")]
    found = scripts_in(program, Data(data, data, {}), VerifiedConfig(instructions=("Διάβασε",)))
    assert found == {"cyrillic", "kana", "cjk", "arabic", "hangul", "pictures", "greek"}


@pytest.mark.parametrize("scripts", ["cjk", ["klingon"], [3]])
def test_what_is_no_script_is_refused(scripts: Any) -> None:
    with pytest.raises(ValueError, match="scripts must be a list of scripts"):
        GreaterTeleprompter(len, scripts=scripts)
