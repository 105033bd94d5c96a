"""Programs, models and listeners that the tests of composing with other parts of DSPy share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import dspy
from dspy.utils.callback import BaseCallback

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from examples.published_schedule import PaperConfig
from examples.small_model import tasks
from tests.support.compiling import START, small

SMALL_MODEL = Path(__file__).resolve().parents[2] / "examples" / "small_model" / "model"
TASK = tasks.TASKS["letters"]
#: A search of a few seconds in which the small model's own instructions are tried.
QUICK = VerifiedConfig(max_steps=1, starts=4)


@cache
def small_lm() -> dspy.LM:
    """The small trained model, which follows its instruction."""
    return local_lm(SMALL_MODEL, max_tokens=60, cache=False)


def letters(split: tasks.Split, count: int) -> list[dspy.Example]:
    """Questions of the task `letters`: the last letters of some words."""
    return tasks.examples("letters", split, count)


def quick(**knobs: Any) -> GreaterTeleprompter:
    """An optimizer that finds better words for `letters` in seconds."""
    settings = {"schedule": QUICK, "progress": False, "confidence": 0.8, **knobs}
    return GreaterTeleprompter(TASK.metric, **settings)


@cache
def better_letters() -> dspy.Module:
    """A program for `letters` with an instruction that the small model does better under."""
    with dspy.context(lm=small_lm()):
        return quick().compile(
            TASK.program(), trainset=letters("train", 8), valset=letters("validation", 10)
        )


class Contrary(dspy.Module):
    """Two predictors, of which each is worth half a point once its instruction has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.rewrite = dspy.ChainOfThought(dspy.Signature("question -> query", START))
        self.answer = dspy.Predict(dspy.Signature("question, query -> answer", START))

    def forward(self, question: str) -> dspy.Prediction:
        changed = [each.signature.instructions != START for each in self.predictors()]
        return dspy.Prediction(answer=question, worth=sum(changed) / 2)


def worth(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> float:
    """The metric of `Contrary`."""
    return float(prediction.worth)


def sums(count: int, start: int = 0) -> list[dspy.Example]:
    """Questions with a label for each predictor of `Contrary`."""
    return [
        dspy.Example(question=f"What is {n} + 3?", query=f"{n} + 3", answer=str(n + 3)).with_inputs(
            "question"
        )
        for n in range(start, start + count)
    ]


def willing(**knobs: Any) -> GreaterTeleprompter:
    """An optimizer that finds other words for both predictors of `Contrary` within a second."""
    config = PaperConfig(max_steps=4, shortlist_size=2)
    return small(**{"metric": worth, "schedule": config, "confidence": 0.5, **knobs})


def improved(program: dspy.Module) -> dspy.Module:
    """Compile a `Contrary`; both instructions come back changed."""
    return willing().compile(program, trainset=sums(4), valset=sums(6, start=10))


def instructions(program: dspy.Module) -> list[str]:
    """The instruction of each predictor, in the program's order."""
    return [predictor.signature.instructions for predictor in program.predictors()]


def messages(
    program: dspy.Module, adapter: dspy.Adapter, question: str = "Why?"
) -> list[Sequence[dict[str, Any]]]:
    """What each predictor of a program would send to an LM."""
    return [
        adapter.format(
            predictor.signature,
            predictor.demos,
            dict.fromkeys(predictor.signature.input_fields, question),
        )
        for predictor in program.predictors()
    ]


class Listener(BaseCallback):
    """Notes what DSPy tells its callbacks, and inside which call it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def _note(self, event: str, call_id: str, **told: Any) -> None:
        from dspy.utils.callback import ACTIVE_CALL_ID

        self.events.append(
            {"event": event, "call_id": call_id, "parent": ACTIVE_CALL_ID.get(), **told}
        )

    def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._note("compile start", call_id, instance=instance, inputs=inputs)

    def on_compile_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
        self._note("compile end", call_id, outputs=outputs, exception=exception)

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._note("module start", call_id, instance=instance, inputs=inputs)

    def on_lm_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self._note("lm start", call_id, instance=instance, inputs=inputs)

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind, in order."""
        return [each for each in self.events if each["event"] == event]
