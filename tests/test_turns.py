"""Several predictors: whose turn it is, and that only scores of whole programs are compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import dspy
import pytest

from dspy_greater import StepEvent
from dspy_greater.loop import TOGETHER
from dspy_greater.program import DataError
from dspy_greater.record import CheckpointError
from dspy_greater.search import Program, ScheduleConfig, ScoreBoard
from tests.support.compiling import (
    PAPER,
    SCHEDULES,
    START,
    VERIFIED,
    configured,
    examples,
    inventive,
    lm,
    small,
)

__all__ = ["configured", "inventive", "lm"]

TRAIN = examples(6)


class Told(dspy.Module):
    """Two predictors of which nothing hangs on but which instructions they have."""

    def __init__(self) -> None:
        super().__init__()
        self.rewrite = dspy.Predict(dspy.Signature("question -> query", START))
        self.answer = dspy.Predict(dspy.Signature("query -> answer", START))

    def forward(self, question: str) -> dspy.Prediction:
        texts = [each.signature.instructions for each in self.predictors()]
        return dspy.Prediction(program=json.dumps(texts))


class Rising:
    """Scores each program it has not met above all before: a score tells the program."""

    def __init__(self) -> None:
        self.met: list[str] = []

    def __call__(self, example: dspy.Example, prediction: dspy.Prediction) -> float:
        if prediction.program not in self.met:
            self.met.append(prediction.program)
        return (1 + self.met.index(prediction.program)) / 1000

    def programs(self, scores: Sequence[float]) -> set[tuple[str, str]]:
        """Return the programs that gave these scores."""
        return {tuple(json.loads(self.met[round(1000 * score) - 1])) for score in scores}


def label_fn(example: dspy.Example, name: str) -> dict[str, str]:
    return {"query" if name == "rewrite" else "answer": example.answer}


def compiled(**knobs: Any) -> dspy.Module:
    settings = {"schedule": VERIFIED, "metric": Rising(), "label_fn": label_fn, **knobs}
    return small(**settings).compile(Told(), trainset=TRAIN, valset=examples(13)[6:])


def test_predictors_come_one_after_the_other() -> None:
    told: list[tuple[str, int]] = []
    compiled(schedule=PAPER, callback=lambda e: told.append((e.predictor, e.step)) or False)
    assert told == [("rewrite", 1), ("rewrite", 2), ("answer", 1), ("answer", 2)]


def test_no_comparison_mixes_scores_of_different_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metric = Rising()
    validated: list[tuple[Program, set[tuple[str, str]]]] = []

    def validate(self: ScoreBoard, programs: Sequence[Program]) -> None:
        plain(self, programs)
        known = self.scores.validation
        validated.extend((each, metric.programs(known[each])) for each in programs)

    def training_scores(self: ScoreBoard, program: Program, examples: Any) -> list[float]:
        found = plainly(self, program, examples)
        assert metric.programs(found) == {tuple(program.instructions.values())}
        return found

    plain, plainly = ScoreBoard.validate, ScoreBoard.training_scores
    monkeypatch.setattr(ScoreBoard, "validate", validate)
    monkeypatch.setattr(ScoreBoard, "training_scores", training_scores)
    record = compiled(metric=metric).detailed_results
    held = {c.predictor for c in record.candidates if c.accepted and c.step}
    assert held == {"rewrite", "answer"}  # both changed, so there was something to mix
    assert len({program for program, _ in validated}) > 2
    for program, scored in validated:
        assert scored == {tuple(program.instructions.values())}


@pytest.mark.usefixtures("inventive")
def test_an_instruction_accepted_in_one_predictor_is_there_in_the_others_next_step() -> None:
    events: list[StepEvent] = []
    record = compiled(callback=lambda event: events.append(event)).detailed_results
    held = {"rewrite": START, "answer": START}
    for event in events:
        other = next(name for name in held if name != event.predictor)
        if event.step:
            here = [
                c
                for c in record.candidates
                if (c.predictor, c.step) == (event.predictor, event.step)
            ]
            assert here
            for candidate in here:
                assert candidate.others.get(other, START) == held[other]
        held[event.predictor] = event.instruction


def test_no_program_is_run_twice_on_an_example() -> None:
    """Scores belong to programs, not to the turn in which they were run.

    Runs are kept of the current program alone: at the end, what the student's predictors were
    asked is found out once more.
    """
    ran: Counter[tuple[str, str]] = Counter()

    def counted(example: dspy.Example, prediction: dspy.Prediction) -> float:
        ran[prediction.program, example.question] += 1
        return graded(example, prediction)

    record = compiled(
        schedule=replace(PAPER, max_steps=4), metric=counted, perfect_score=None
    ).detailed_results
    accepted = [c for c in record.candidates if c.accepted and c.step]
    assert {c.predictor for c in accepted} == {"rewrite", "answer"}
    assert record.total_calls == sum(ran.values())
    again = {program for (program, _), times in ran.items() if times > 1}
    assert again <= {json.dumps([START, START])}
    assert len({program for program, _ in ran}) > 9


def test_the_verdict_is_on_whole_programs_and_every_one_was_a_look() -> None:
    program = compiled()
    record = program.detailed_results
    tried = {
        json.dumps({**c.others, c.predictor: c.instruction}, sort_keys=True)
        for c in record.candidates
        if c.validation_scores and {**c.others, c.predictor: c.instruction} != c.others
    }
    assert {outcome.looks for outcome in record.outcomes} == {record.outcomes[0].looks}
    assert 0 < record.outcomes[0].looks <= len(tried)
    changed = [outcome for outcome in record.outcomes if outcome.changed]
    assert changed
    for outcome in changed:
        now = dict(program.named_predictors())[outcome.predictor].signature.instructions
        assert outcome.after == now
        assert outcome.gain > 0
        assert outcome.score_after == changed[0].score_after
        assert outcome.together == ([o.predictor for o in changed] if len(changed) > 1 else [])
    assert record.summary().count("validation examples") >= 1


def test_where_nothing_is_better_nothing_changes() -> None:
    program = compiled(metric=lambda example, prediction: 0.5)
    assert [o.after for o in program.detailed_results.outcomes] == [START, START]
    assert program.detailed_results.summary().count("kept as it was") == 2


class KilledError(Exception):
    """Stands for the end of the process."""


def graded(example: dspy.Example, prediction: dspy.Prediction) -> float:
    """A score that hangs on the example and the instructions."""
    return len(set(f"{example.question}{prediction}")) % 7 / 7


def events(folder: Path) -> list[dict[str, Any]]:
    """Return what the log of a compile tells, without what it cost."""
    lines = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    costs = {"metric_calls", "tokens", "seconds"}
    return [{name: event[name] for name in event.keys() - costs} for event in lines]


@SCHEDULES
def test_searches_that_were_killed_go_on_and_end_the_same(
    schedule: ScheduleConfig, tmp_path: Path
) -> None:
    knobs = {"metric": graded, "schedule": schedule}
    whole = compiled(log_dir=tmp_path / "whole", **knobs).detailed_results
    killed, deaths = tmp_path / "killed", 0
    told: list[str] = []

    def die(event: StepEvent) -> None:
        told.append(event.predictor)
        raise KilledError

    while True:  # killed after every step
        try:
            compiled(log_dir=killed, callback=die, **knobs)
        except KilledError:
            deaths += 1
        else:
            break
    resumed = compiled(log_dir=killed, **knobs).detailed_results
    assert deaths >= 4
    assert resumed.candidates == whole.candidates
    assert resumed.outcomes == whole.outcomes
    assert events(killed) == events(tmp_path / "whole")
    assert told == [event["predictor"] for event in events(killed) if "step" in event]
    if schedule is VERIFIED:  # killed between the events of the race of whole programs, too
        assert [event["step"] for event in events(killed)[:3]] == [0, 0, 1]


def test_a_search_stopped_between_the_events_of_the_race_goes_on_with_the_other(
    tmp_path: Path,
) -> None:
    compiled(log_dir=tmp_path, metric=graded, callback=lambda event: True)
    assert len(events(tmp_path)) == 1
    told: list[StepEvent] = []
    compiled(log_dir=tmp_path, metric=graded, callback=told.append)
    assert (told[0].predictor, told[0].step) == ("answer", 0)
    assert told[0].attempts
    assert told[1].step == 1


def test_who_ends_it_all_after_the_race_hears_of_every_predictor() -> None:
    record = compiled(metric=lambda example, prediction: 0.5, callback=lambda event: True)
    outcomes = record.detailed_results.outcomes
    assert [outcome.predictor for outcome in outcomes] == ["rewrite", "answer"]
    assert {outcome.stopped for outcome in outcomes} == {"stopped by the callback"}
    assert record.detailed_results.summary().count("kept as it was") == 2


def test_the_same_seed_gives_the_same_search() -> None:
    one, two = (compiled(metric=graded).detailed_results for _ in range(2))
    assert one.candidates == two.candidates
    assert one.outcomes == two.outcomes


def test_ctrl_c_gives_back_what_there_is() -> None:
    def press(event: StepEvent) -> bool:
        raise KeyboardInterrupt

    record = compiled(callback=press).detailed_results
    # Pressed after the race of whole programs, and before any predictor's own turn.
    assert {outcome.stopped for outcome in record.outcomes} == {"interrupted"}
    assert {outcome.steps for outcome in record.outcomes} == {0}


@pytest.mark.usefixtures("inventive")
def test_bounds_are_shared_evenly() -> None:
    events: list[StepEvent] = []
    record = compiled(
        callback=lambda event: events.append(event),
        schedule=replace(VERIFIED, max_steps=99, patience=99),
        max_metric_calls=400,
    ).detailed_results
    assert all("max_metric_calls" in outcome.stopped for outcome in record.outcomes)
    spent: dict[str, int] = dict.fromkeys(("rewrite", "answer"), 0)
    for before, event in pairwise(events):
        if event.step:
            spent[event.predictor] += event.metric_calls - before.metric_calls
    assert 0.5 < spent["rewrite"] / spent["answer"] < 2


def test_whole_programs_race_first_within_their_share() -> None:
    mine = ("Think.", "Answer it.", "Read it twice.", "Say what is asked.")
    config = replace(VERIFIED, library=False, asked=0, starts=0, instructions=mine, max_steps=1)

    def raced(**knobs: Any) -> list[str]:
        record = compiled(schedule=config, **knobs).detailed_results
        return [
            candidate.instruction
            for candidate in record.candidates
            if (candidate.kind, candidate.predictor) == (TOGETHER, "answer")
        ]

    assert raced() == list(mine)
    # The student takes 13 of the runs and the verdict 21: a third of the rest pays for two on six.
    assert raced(max_metric_calls=80) == list(mine[:2])
    assert raced(max_metric_calls=20) == []
    assert raced(frozen=["rewrite"]) == []


def test_labels_of_label_fn_are_what_the_published_schedule_follows() -> None:
    def some(example: dspy.Example, name: str) -> Any:
        number = int(example.question.split()[2])
        return {"query": f"{number} plus 3"} if name == "rewrite" and number % 2 else None

    record = compiled(schedule=PAPER, label_fn=some).detailed_results
    assert record.left_out == ["answer"]
    assert [outcome.predictor for outcome in record.outcomes] == ["rewrite"]
    # Half of the examples have a label, and none of the others counts as a loss that failed.
    assert {len(candidate.train_scores) for candidate in record.candidates} == {3}


def test_with_some_labels_rewards_are_what_the_verified_schedule_follows() -> None:
    def some(example: dspy.Example, name: str) -> Any:
        return {"query": "3"} if name == "rewrite" and example is TRAIN[1] else {}

    record = compiled(label_fn=some).detailed_results
    assert record.left_out == []
    assert {len(c.train_scores) for c in record.candidates if c.accepted} == {6}


def test_a_log_dir_knows_the_labels_and_not_the_function(tmp_path: Path) -> None:
    def again(example: dspy.Example, name: str) -> dict[str, str]:
        return label_fn(example, name)

    one = compiled(log_dir=tmp_path).detailed_results
    assert compiled(log_dir=tmp_path, label_fn=again).detailed_results.outcomes == one.outcomes
    with pytest.raises(CheckpointError, match="another labels"):
        compiled(log_dir=tmp_path, label_fn=lambda example, name: None)


def test_labels_are_checked_before_anything_runs() -> None:
    def metric(example: dspy.Example, prediction: dspy.Prediction) -> float:
        raise AssertionError("the program was run")

    with pytest.raises(DataError, match=r"'answer' on trainset\[5\]"):
        compiled(
            metric=metric,
            label_fn=lambda example, name: (
                {"anwser": "8"} if name == "answer" and example is TRAIN[5] else {}
            ),
        )
