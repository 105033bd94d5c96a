"""How a compile is watched, bounded, interrupted and taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater import StepEvent, teleprompter
from dspy_greater.cost import PHASES
from dspy_greater.model import WhiteBox
from dspy_greater.record import CheckpointError
from dspy_greater.report import DetailedResults
from dspy_greater.search import ScheduleConfig
from tests.support.compiling import (
    PAPER,
    SCHEDULES,
    START,
    VERIFIED,
    configured,
    examples,
    inventive,
    lm,
    readable,
    small,
    student,
)

__all__ = ["configured", "inventive", "lm", "readable", "student"]


def test_a_callback_is_told_of_every_step_and_may_stop_the_search(student: dspy.Module) -> None:
    events: list[StepEvent] = []

    def first_only(event: StepEvent) -> bool:
        events.append(event)
        return True

    compiled = small(callback=first_only).compile(student, trainset=examples())
    assert [event.step for event in events] == [1]
    assert events[0].predictor == "predict"
    assert events[0].metric_calls == compiled.detailed_results.total_calls
    assert compiled.detailed_results.outcomes[0].stopped == "stopped by the callback"


def test_what_a_callback_raises_reaches_the_caller(student: dspy.Module) -> None:
    def broken(event: StepEvent) -> bool:
        raise LookupError("no such panel")

    with pytest.raises(LookupError, match="no such panel"):
        small(callback=broken).compile(student, trainset=examples())


@pytest.mark.parametrize(
    "budget", [{"max_metric_calls": 1}, {"max_tokens": 1}, {"max_seconds": 0.001}]
)
def test_bounds_that_pay_for_no_race_leave_it_at_the_first_pass(
    budget: dict[str, Any], student: dspy.Module
) -> None:
    compiled = small(**budget).compile(student, trainset=examples())
    (outcome,) = compiled.detailed_results.outcomes
    assert outcome.steps == 0
    assert next(iter(budget)) in outcome.stopped
    assert compiled.detailed_results.total_calls == len(examples())


@pytest.mark.parametrize("most", [12, 17, 25, 60, 120])
@pytest.mark.usefixtures("readable", "inventive")
def test_a_bound_on_metric_calls_is_kept(most: int, student: dspy.Module) -> None:
    schedule = replace(VERIFIED, max_steps=99, patience=99)
    compiled = small(max_metric_calls=most, schedule=schedule).compile(student, trainset=examples())
    record = compiled.detailed_results
    assert most / 2 < record.total_calls <= most
    assert "max_metric_calls" in record.outcomes[0].stopped


def test_a_bound_below_the_first_pass_is_told_of(
    student: dspy.Module, caplog: pytest.LogCaptureFixture
) -> None:
    small(max_metric_calls=2).compile(student, trainset=examples())
    told = "max_metric_calls=2 pays for about 2 runs, fewer than the 4 training and 2 validation"
    assert told in caplog.text


@pytest.mark.usefixtures("readable", "inventive")
def test_where_bounds_pay_for_few_runs_the_verdict_is_on_fewer_examples(
    student: dspy.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train, validation = examples(50)[:6], examples(50)[6:]

    def compiled(most: int, **knobs: Any) -> DetailedResults:
        its = {"metric": lambda example, prediction: int(example.answer) / 100, **knobs}
        optimizer = small(max_metric_calls=most, schedule=VERIFIED, **its)
        return optimizer.compile(student, trainset=train, valset=validation).detailed_results

    assert compiled(160).validation_examples == 32
    assert "max_metric_calls=160 pays for about 160 runs: the verdict is on 32 of 44" in caplog.text
    assert compiled(60).validation_examples == 16  # the fewest
    assert compiled(500).validation_examples == 44
    caplog.clear()
    stopped = compiled(160, log_dir=tmp_path, callback=lambda event: True)
    resumed = compiled(160, log_dir=tmp_path)
    assert caplog.text.count("pays for about") == 1  # not where a compile is taken up
    assert resumed.candidates[0].validation_scores == stopped.candidates[0].validation_scores
    assert len(set(stopped.candidates[0].validation_scores or [])) == 32


def test_ctrl_c_gives_back_what_there_is(student: dspy.Module) -> None:
    def press(event: StepEvent) -> bool:
        raise KeyboardInterrupt

    compiled = small(callback=press).compile(student, trainset=examples())
    (outcome,) = compiled.detailed_results.outcomes
    assert (outcome.stopped, outcome.after) == ("interrupted", START)


def test_runs_end_at_the_adapters_mark_and_at_the_users_own(
    student: dspy.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: set[tuple[str, ...]] = set()
    generate = WhiteBox.generate

    def listen(self: WhiteBox, prompts: Any, samplings: Any) -> Any:
        stops.update(sampling.stop for sampling in samplings)
        return generate(self, prompts, samplings)

    monkeypatch.setattr(WhiteBox, "generate", listen)
    with dspy.context(lm=dspy.settings.lm.copy(stop="END")):
        small().compile(student, trainset=examples())
    assert stops == {("END", "\n[[ ## completed ## ]]")}
    stops.clear()
    with dspy.context(adapter=dspy.JSONAdapter()):
        small().compile(student, trainset=examples())
    assert stops == {()}


class KilledError(Exception):
    """Stands for the end of the process."""


@SCHEDULES
@pytest.mark.usefixtures("readable", "inventive")
def test_a_run_that_was_killed_goes_on_and_ends_the_same(
    schedule: ScheduleConfig, student: dspy.Module, tmp_path: Path
) -> None:
    def die(event: StepEvent) -> None:
        raise KilledError

    def graded(example: dspy.Example, prediction: dspy.Prediction) -> float:
        return len(set(str(prediction))) % 7 / 7

    def compiled(**knobs: Any) -> dspy.Module:
        return small(schedule=schedule, metric=graded, **knobs).compile(
            student, trainset=examples(), valset=examples(9)[6:]
        )

    whole = compiled().detailed_results
    for _ in range(2):  # killed after the first step, taken up, killed after the second
        with pytest.raises(KilledError):
            compiled(log_dir=tmp_path, callback=die)
    resumed = compiled(log_dir=tmp_path).detailed_results
    assert resumed.outcomes == whole.outcomes
    assert resumed.candidates == whole.candidates
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event.get("step") for event in events[:2]] == [1, 2]
    assert events[-1]["predictor"] == "predict"
    assert "before" in events[-1]
    again = compiled(log_dir=tmp_path).detailed_results
    assert again.outcomes == whole.outcomes
    # What a killed process had spent is spent.
    for phase in PHASES:
        assert again.phases[phase] >= resumed.phases[phase] - 1e-6
    assert again.total_calls == resumed.total_calls


def test_another_config_is_not_mixed_with_what_a_log_dir_holds(
    student: dspy.Module, tmp_path: Path
) -> None:
    small(log_dir=tmp_path).compile(student, trainset=examples())
    with pytest.raises(CheckpointError, match="another config"):
        small(log_dir=tmp_path, confidence=0.9).compile(student, trainset=examples())
    with pytest.raises(CheckpointError, match="another trainset, valset"):
        small(log_dir=tmp_path).compile(student, trainset=examples(8))
    with pytest.raises(CheckpointError, match="another program"):
        small(log_dir=tmp_path).compile(
            dspy.Predict(dspy.Signature("question -> answer", START)), trainset=examples()
        )


def test_a_folder_of_a_build_that_saved_more_is_refused(
    student: dspy.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(teleprompter, "FORM", 1)
        small(log_dir=tmp_path).compile(student, trainset=examples())
    with pytest.raises(CheckpointError, match="another version of dspy_greater"):
        small(log_dir=tmp_path).compile(student, trainset=examples())


@SCHEDULES
@pytest.mark.usefixtures("readable")
def test_the_record_says_where_the_time_went(
    schedule: ScheduleConfig, student: dspy.Module
) -> None:
    record = small(schedule=schedule).compile(student, trainset=examples()).detailed_results
    assert set(record.phases) == {*PHASES, "other"}
    ours = ("score", "gradient") if schedule is PAPER else ()
    assert all(record.phases[name] > 0 for name in ("render", "generate", *ours))
    assert sum(record.phases.values()) >= 0.99 * record.seconds
    assert record.phases["generate"] <= record.seconds


def test_validation_examples_that_changed_are_on_record(student: dspy.Module) -> None:
    class Contrary(dspy.Module):
        """Right about 7 alone until its instruction changes, then about all others."""

        def __init__(self) -> None:
            super().__init__()
            self.predict = student

        def forward(self, question: str) -> dspy.Prediction:
            number = int(question.split()[2])
            changed = self.predictors()[0].signature.instructions != START
            return dspy.Prediction(answer=str(number + 3) if changed != (number == 7) else "?")

    compiled = small(confidence=0.5).compile(
        Contrary(), trainset=examples(), valset=examples(12)[6:]
    )
    (outcome,) = compiled.detailed_results.outcomes
    assert outcome.changed
    assert [each.index for each in outcome.changed_examples] == [0, 1, 2, 3, 4, 5]
    assert [each.better for each in outcome.changed_examples] == [True, False, *[True] * 4]
    second = outcome.changed_examples[1]
    assert (second.score_before, second.score_after) == (1.0, 0.0)
    assert second.inputs == {"question": "What is 7 + 3?"}
    assert second.labels == {"answer": "10"}


@SCHEDULES
def test_the_number_of_threads_changes_nothing(
    schedule: ScheduleConfig, student: dspy.Module
) -> None:
    one, four = (
        small(schedule=schedule, num_threads=count)
        .compile(student, trainset=examples())
        .detailed_results
        for count in (1, 4)
    )
    assert one.candidates == four.candidates
    assert one.outcomes == four.outcomes
