"""What language models think before they answer is heard, by whom it was asked of."""

from __future__ import annotations

import re
from typing import Any

import dspy
from dspy import lm15
from dspy.utils.callback import BaseCallback

from dspy_greater.program import Run
from dspy_greater.program.runs import run_programs
from tests.support.targets import Adder, target


class Thinker(Adder):
    """Adds, and says so before."""

    unreadable = False  # whether it forgets ChatAdapter's format

    def complete(self, request: lm15.Request) -> lm15.Response:
        response = super().complete(request)
        text = response.text
        if self.unreadable and text.startswith("["):
            text = "It is " + re.findall(r"\d+", text)[-1]
        thought = f"thought of {text[-30:]!r}"
        parts = [lm15.ThinkingPart(thought), lm15.TextPart(text)]
        return lm15.Response(
            id=None,
            model=response.model,
            message=lm15.Message.assistant(parts),
            finish_reason="stop",
            usage=response.usage,
        )

    def answer(self, system: str, question: str) -> str:
        if "JSON object" in question:
            return '{"answer": "5"}'
        return super().answer(system, question)


class Two(dspy.Module):
    """Two predictors, asked side by side or one after the other."""

    def __init__(self, parallel: bool) -> None:
        super().__init__()
        self.parallel = parallel
        self.first = dspy.Predict("question -> answer")
        self.second = dspy.ChainOfThought("question -> answer")

    def forward(self, question: str) -> Any:
        asked = [(self.first, {"question": question}), (self.second, {"question": question})]
        if self.parallel:
            return dspy.Parallel(num_threads=2, disable_progress_bar=True)(asked)[1]
        return [predictor(**inputs) for predictor, inputs in asked][1]


EXAMPLES = [
    dspy.Example(question=f"{n} + 3", answer=str(n + 3)).with_inputs("question") for n in (2, 3)
]


def metric(example: dspy.Example, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


def run(program: dspy.Module, engine: Adder | None = None, thinking: bool = True) -> list[Run]:
    lm = target(engine or Thinker())
    (runs,) = run_programs([program], [EXAMPLES], metric, lms=[lm], thinking=thinking)
    return runs


def test_each_call_has_what_was_thought_before_it() -> None:
    for parallel in (False, True):
        for example, each in zip(EXAMPLES, run(Two(parallel)), strict=True):
            assert each.score == 1
            for name in ("first", "second.predict"):
                (call,) = each.calls[name]
                assert f"\\n{example.answer}" in call.thinking, (name, call)


def test_unheard_and_unsaid_thoughts_are_no_text() -> None:
    for runs in (run(Two(False), thinking=False), run(Two(False), Adder())):
        assert {call.thinking for each in runs for call in each.calls["first"]} == {""}


def test_where_an_adapter_asks_again_the_last_answer_counts() -> None:
    engine = Thinker()
    engine.unreadable = True
    each = run(dspy.Predict("question -> answer"), engine)[0]
    (call,) = each.calls["self"]
    assert call.outputs == {"answer": "5"}
    assert call.thinking == """thought of '{"answer": "5"}'"""


def test_the_users_own_callbacks_hear_as_much_as_before() -> None:
    class Heard(BaseCallback):
        def __init__(self) -> None:
            self.answers = 0

        def on_lm_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self.answers += 1

    mine = Heard()
    with dspy.context(callbacks=[mine]):
        run(Two(False))
    assert mine.answers == 4
