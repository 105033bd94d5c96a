"""The teleprompter's contract: what it keeps, what it refuses, what it says."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater import GreaterTeleprompter, VerifiedConfig, local_lm
from dspy_greater.lm import NotWhiteBoxError
from dspy_greater.model import ContextError
from dspy_greater.program import DataError, InstructionError, MetricError
from dspy_greater.search import ScheduleConfig
from examples.published_schedule import LossError
from tests.support.compiling import (
    PAPER,
    SCHEDULES,
    START,
    VERIFIED,
    configured,
    examples,
    lm,
    lm_of,
    metric,
    readable,
    small,
    student,
)
from tests.support.families import ARCHITECTURES
from tests.support.marks import mostly_slow, slow
from tests.support.tiny import make_model, make_tokenizer

__all__ = ["configured", "lm", "readable", "student"]


class Pipeline(dspy.Module):
    """Two predictors, of which only the second has a label."""

    def __init__(self) -> None:
        super().__init__()
        self.rewrite = dspy.Predict("question -> query")
        self.answer = dspy.Predict("query -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(query=self.rewrite(question=question).query)


ADAPTERS = {"chat": None, "json": dspy.JSONAdapter(), "xml": dspy.XMLAdapter()}


@SCHEDULES
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize(
    ("architecture", "adapter"),
    mostly_slow(
        [*((name, "chat") for name in ARCHITECTURES), ("llama", "json"), ("llama", "xml")],
        ("llama", "chat"),
    ),
)
def test_every_architecture_and_adapter_goes_through_compile(
    architecture: str,
    adapter: str,
    schedule: ScheduleConfig,
    student: dspy.Module,
) -> None:
    with dspy.context(lm=lm_of(architecture), adapter=ADAPTERS[adapter]):
        compiled = small(schedule=schedule).compile(student, trainset=examples())
    record = compiled.detailed_results
    assert (record.counts["tokens_backward"] > 0) == (schedule is PAPER)
    assert record.counts["rollouts"] > 0
    assert len(record.candidates) > 2


def test_the_student_is_left_alone_and_its_parts_are_kept(
    student: dspy.Module, lm: dspy.LM
) -> None:
    predictor = student.predictors()[0]
    predictor.demos = [dspy.Example(question="What is 1 + 1?", reasoning="easy", answer="2")]
    predictor.lm = lm
    before = json.dumps(student.dump_state(), default=str)
    compiled = small().compile(student, trainset=examples())
    assert json.dumps(student.dump_state(), default=str) == before
    assert not hasattr(student, "detailed_results")
    assert compiled is not student
    assert compiled.predictors()[0].demos == predictor.demos
    assert compiled.predictors()[0].lm is lm
    assert compiled._compiled == student._compiled


def test_the_original_comes_back_when_nothing_beats_it_and_it_says_so(
    student: dspy.Module, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "dspy_greater"):
        compiled = small(metric=lambda example, prediction: 0.5).compile(
            student, trainset=examples()
        )
    assert compiled.predictors()[0].signature.instructions == START
    assert not compiled.detailed_results.improved
    assert "kept as it was" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING


@SCHEDULES
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_examples_whose_right_answer_is_empty_are_learned_from(
    adapter: str, schedule: ScheduleConfig, lm: dspy.LM
) -> None:
    negatives = [dspy.Example(question=each.question, answer="") for each in examples()]
    negatives = [each.with_inputs("question") for each in negatives]
    with dspy.context(adapter=ADAPTERS[adapter]):
        compiled = small(schedule=schedule).compile(
            dspy.Predict(dspy.Signature("question -> answer", START)), trainset=negatives
        )
    record = compiled.detailed_results
    assert len(record.candidates) > 1


def test_a_perfect_program_is_not_searched(student: dspy.Module) -> None:
    class Perfect(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = student

        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer=str(int(question.split()[2]) + 3))

    compiled = small().compile(Perfect(), trainset=examples())
    assert compiled.detailed_results.outcomes[0].stopped == "nothing left to gain"
    assert compiled.detailed_results.counts["tokens_backward"] == 0


def test_the_record_is_json_and_complete(student: dspy.Module) -> None:
    compiled = small(seed=7).compile(student, trainset=examples())
    record = json.loads(json.dumps(compiled.detailed_results.to_dict()))
    assert record["seed"] == 7
    assert record["config"]["schedule"] == "PaperConfig"
    assert record["config"]["shortlist_size"] == 2
    assert record["train_examples"] == 4
    assert record["validation_examples"] == 2
    assert record["candidates"][0]["instruction"] == START
    assert len(record["candidates"][0]["train_scores"]) == 4
    assert record["total_calls"] >= 4 * len(record["candidates"])
    assert {"dspy", "torch", "transformers", "python"} <= record["versions"].keys()
    assert all(set(entry) >= {"instruction", "score"} for entry in compiled.candidate_programs)


@SCHEDULES
def test_the_same_seed_tries_the_same_instructions(
    student: dspy.Module, schedule: ScheduleConfig
) -> None:
    def tried(seed: int) -> list[str]:
        compiled = small(seed=seed, schedule=schedule).compile(student, trainset=examples())
        return [candidate.instruction for candidate in compiled.detailed_results.candidates]

    assert tried(1) == tried(1)


def test_the_published_schedule_leaves_predictors_without_a_label_alone() -> None:
    compiled = small().compile(Pipeline(), trainset=examples())
    assert compiled.detailed_results.left_out == ["rewrite"]
    assert [outcome.predictor for outcome in compiled.detailed_results.outcomes] == ["answer"]


@pytest.mark.parametrize("selector", [slow(None), ["rewrite"]])
def test_predictors_without_a_label_learn_from_rewarded_runs(selector: Any) -> None:
    teleprompter = small(schedule=VERIFIED, predictors=selector)
    record = teleprompter.compile(Pipeline(), trainset=examples()).detailed_results
    names = ["rewrite", "answer"] if selector is None else ["rewrite"]
    assert [outcome.predictor for outcome in record.outcomes] == names
    assert record.left_out == [name for name in ("rewrite", "answer") if name not in names]


def test_no_label_at_all_is_needed() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction, trace: Any = None) -> bool:
        return len(str(prediction.answer)) % 2 == 0

    unlabelled = [dspy.Example(question=e.question).with_inputs("question") for e in examples()]
    compiled = small(schedule=VERIFIED, metric=metric).compile(Pipeline(), trainset=unlabelled)
    assert len(compiled.detailed_results.outcomes) == 2


def test_the_white_box_may_differ_from_the_programs_lm(student: dspy.Module, lm: dspy.LM) -> None:
    other = dspy.utils.DummyLM([{"reasoning": "r", "answer": "a"}])
    student.set_lm(other)
    compiled = small(lm=lm).compile(student, trainset=examples())
    assert compiled.predictors()[0].lm is other
    assert other.history  # there candidates are verified


def test_it_is_a_teleprompter_with_callbacks_and_named_arguments(student: dspy.Module) -> None:
    from dspy.utils.callback import BaseCallback

    class Listener(BaseCallback):
        def __init__(self) -> None:
            self.events: list[str] = []

        def on_compile_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
            self.events.append("start")

        def on_compile_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
            self.events.append("end")

    listener = Listener()
    with dspy.context(callbacks=[listener]):
        small(max_steps=1).compile(student, trainset=examples(), teacher=None)
    assert listener.events == ["start", "end"]
    assert GreaterTeleprompter in dspy.teleprompt.Teleprompter.__subclasses__()


@pytest.mark.parametrize(
    ("trainset", "words"),
    [
        ([], "empty"),
        ([dspy.Example(question="q", answer="a")], "with_inputs"),
        ([dspy.Example(question="q").with_inputs("question")] * 3, "label"),
        (examples(1), "valset"),
        ([*examples(2), dspy.Example(question="q", answer=None).with_inputs("question")], "answer"),
    ],
    ids=["empty", "no inputs", "no labels", "too few to split", "a label missing"],
)
def test_bad_data_is_refused_before_any_work(
    trainset: list[dspy.Example], words: str, student: dspy.Module, lm: dspy.LM
) -> None:
    calls = len(lm.history)
    with pytest.raises(DataError, match=words):
        small().compile(student, trainset=trainset)
    assert len(lm.history) == calls


def test_a_metric_of_the_wrong_arity_is_refused_at_once() -> None:
    with pytest.raises(MetricError, match="metric"):
        GreaterTeleprompter(metric=lambda example: True)


def test_a_metric_that_returns_nonsense_is_an_error(student: dspy.Module) -> None:
    class Right(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predict = student

        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer="7")

    with pytest.raises(MetricError, match="nan"):
        small(metric=lambda e, p: float("nan")).compile(Right(), trainset=examples())


def test_an_lm_that_is_no_white_box_is_refused(student: dspy.Module) -> None:
    with (
        dspy.context(lm=dspy.utils.DummyLM([{"answer": "a"}])),
        pytest.raises(NotWhiteBoxError, match="local_lm"),
    ):
        small().compile(student, trainset=examples())
    with dspy.context(lm=None), pytest.raises(NotWhiteBoxError, match="local_lm"):
        small().compile(student, trainset=examples())


@pytest.mark.parametrize(
    "text", ["Fill in [[ ## answer ## ]] now.", "Answer.<|im_end|>"], ids=["markup", "special"]
)
def test_an_instruction_that_cannot_be_edited_is_refused(text: str, student: dspy.Module) -> None:
    predictor = student.predictors()[0]
    predictor.signature = predictor.signature.with_instructions(text)
    with pytest.raises(InstructionError):
        small().compile(student, trainset=examples())


def test_a_model_of_nan_gives_no_result(student: dspy.Module) -> None:
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    model.model.norm.weight.data.fill_(float("nan"))
    with dspy.context(lm=local_lm((model, tokenizer), max_tokens=4, cache=False)):
        with pytest.raises(LossError, match="NaN"):
            small().compile(student, trainset=examples())
        record = small(schedule=VERIFIED).compile(student, trainset=examples()).detailed_results
    assert "no answer of any program could be read" in record.outcomes[0].stopped


def test_a_validation_set_with_training_examples_is_warned_of(
    student: dspy.Module, caplog: pytest.LogCaptureFixture
) -> None:
    small().compile(student, trainset=examples(), valset=examples(3))
    assert "3 of 3 validation examples are also training examples" in caplog.text


@pytest.mark.parametrize(
    "knobs",
    [
        {"auto": "light", "max_tokens": 5},
        {"auto": "light", "schedule": PAPER},
        {"auto": "enormous", "schedule": "verified"},
        {"max_seconds": -1},
        {"max_metric_calls": 0},
        {"max_tokens": float("nan")},
    ],
)
def test_budgets_that_cannot_be_meant_are_refused_at_once(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(knobs))):
        small(**knobs)


def test_the_effort_decides_the_sizes() -> None:
    light, heavy = (GreaterTeleprompter(metric, auto=each).config for each in ("light", "heavy"))
    assert light.max_steps < heavy.max_steps
    assert isinstance(GreaterTeleprompter(metric).config, VerifiedConfig)
    assert GreaterTeleprompter(metric, schedule=PAPER, max_steps=7).config.max_steps == 7
    assert GreaterTeleprompter(metric, max_seconds=60).config.max_steps > 1000


@pytest.mark.parametrize(
    "knobs", [{"schedule": "magic"}, {"max_examples": 0}, {"confidence": 1}, {"max_steps": 0}]
)
def test_senseless_settings_are_refused_at_once(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(knobs))):
        small(**knobs)


class Terse(dspy.ChatAdapter):
    """A chat format short enough for a context of 256 tokens."""

    def format_field_description(self, signature: type[dspy.Signature]) -> str:
        return ""

    def format_field_structure(self, signature: type[dspy.Signature]) -> str:
        return ""

    def user_message_output_requirements(self, signature: type[dspy.Signature]) -> str:
        return ""


def test_a_real_base_model_without_a_template_goes_through(shared: Path) -> None:
    lm = local_lm(shared / "models" / "tiny1m", max_tokens=8, cache=False)
    program = dspy.Predict(dspy.Signature("question -> answer", "Tell a story."))
    with dspy.context(lm=lm, adapter=Terse(use_json_adapter_fallback=False)):
        compiled = small().compile(program, trainset=examples())
    assert compiled.detailed_results.counts["tokens_backward"] > 0
    with dspy.context(lm=lm), pytest.raises(ContextError, match="256"):
        small().compile(program, trainset=examples())
