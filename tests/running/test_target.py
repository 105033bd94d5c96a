"""Whole compiles with the white box here and the verdict elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15

from dspy_greater import GreaterTeleprompter, StepEvent, VerifiedConfig
from dspy_greater.lm import NotWhiteBoxError
from dspy_greater.model import WhiteBox
from dspy_greater.program import TooManyErrorsError
from dspy_greater.record import CheckpointError, usage_text
from examples.published_schedule import PaperConfig
from tests.support.compiling import (
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
from tests.support.copies import NAME, Copy, copy_server
from tests.support.marks import slow
from tests.support.targets import Adder, stub_server, target

__all__ = ["configured", "lm", "readable", "student"]


def changed(instruction: str) -> bool:
    """What a target likes that is no good with the instruction at the start."""
    return instruction != START


@SCHEDULES
def test_the_target_gives_the_verdict(
    schedule: PaperConfig | VerifiedConfig, student: dspy.Module
) -> None:
    engine = Adder(changed)
    compiled = small(schedule=schedule, target_lm=target(engine)).compile(
        student, trainset=examples(), valset=examples(26)[6:]
    )
    record = compiled.detailed_results
    (outcome,) = record.outcomes
    assert outcome.changed
    assert (outcome.score_before, outcome.score_after) == (0.0, 1.0)
    start, *others = [candidate.train_scores for candidate in record.candidates]
    assert start == [0.0] * 6
    assert {score for scores in others for score in scores} == {1.0}
    assert record.target == "far/away"
    assert record.target_usage == {
        "far/away": {
            "calls": engine.calls,
            "tokens_read": 10 * engine.calls,
            "tokens_written": 3 * engine.calls,
        }
    }
    # The white box writes instructions, or its gradient proposes them in the published schedule.
    assert (record.counts["rollouts"] > 0) == (schedule is VERIFIED)
    assert (record.counts["tokens_backward"] > 0) == (schedule is not VERIFIED)
    assert record.phases["target"] > 0
    assert {config.seed for config in engine.configs} == {None}


@SCHEDULES
def test_nothing_is_accepted_that_the_target_does_not_confirm(
    schedule: PaperConfig | VerifiedConfig, student: dspy.Module
) -> None:
    far = target(Adder(lambda instruction: instruction == START))
    compiled = small(schedule=schedule, target_lm=far).compile(student, trainset=examples(20))
    assert compiled.predictors()[0].signature.instructions == START
    assert compiled.detailed_results.outcomes[0].score_before == 1.0


def test_papers_losses_are_the_white_boxs_after_the_targets_reasoning(
    student: dspy.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    score = WhiteBox.log_probs

    def listen(self: WhiteBox, items: Any, **settings: Any) -> Any:
        read.extend(self.encoder.decode(item.ids) for item in items)
        return score(self, items, **settings)

    monkeypatch.setattr(WhiteBox, "log_probs", listen)
    small(target_lm=target(Adder())).compile(student, trainset=examples())
    assert any("[4, 3] in all" in text for text in read)


@pytest.mark.parametrize("own", ["configured", "predictor's"])
def test_the_programs_own_lm_is_the_target_of_another_white_box(
    own: str, student: dspy.Module, lm: dspy.LM
) -> None:
    engine = Adder(changed)
    far = target(engine)
    if own == "predictor's":
        student.predictors()[0].lm = far
    with dspy.context(lm=far):
        compiled = small(lm=lm).compile(student, trainset=examples())
    assert compiled.detailed_results.target_usage["far/away"]["calls"] == engine.calls > 0
    assert compiled.predictors()[0].lm is (far if own == "predictor's" else None)


def test_without_another_lm_the_white_box_does_everything(
    student: dspy.Module, lm: dspy.LM
) -> None:
    for knobs in ({}, {"lm": lm}, {"target_lm": lm}):
        record = small(max_steps=1, **knobs).compile(student, trainset=examples()).detailed_results
        assert (record.target, record.target_usage) == ("", {})
        assert record.phases["target"] == 0
        assert "verified on" not in record.summary()
    with dspy.context(lm=None):
        record = small(max_steps=1, lm=lm).compile(student, trainset=examples()).detailed_results
    assert record.target == ""


def test_another_local_model_may_be_the_target(student: dspy.Module) -> None:
    other = lm_of("qwen2")
    record = small(target_lm=other).compile(student, trainset=examples()).detailed_results
    assert record.target == other.model
    assert record.target_usage[other.model]["calls"] > 0
    assert record.target_usage[other.model]["tokens_written"] > 0
    assert record.counts["rollouts"] == 0


def test_bounds_count_the_white_boxs_tokens_and_all_runs(student: dspy.Module) -> None:
    events: list[StepEvent] = []
    engine = Adder()
    compiled = small(
        target_lm=target(engine), callback=events.append, perfect_score=None, max_metric_calls=20
    ).compile(student, trainset=examples())
    record = compiled.detailed_results
    event = events[-1]
    assert "max_metric_calls" in record.outcomes[0].stopped
    assert event.metric_calls <= engine.calls
    work = {name: n for name, n in record.counts.items() if name.startswith("tokens")}
    assert 0 < event.tokens <= sum(work.values())
    assert work["tokens_decoded"] == 0


def test_what_the_target_costs_is_said_before_and_after(
    student: dspy.Module, capsys: pytest.CaptureFixture[str]
) -> None:
    knobs = {"progress": True, "perfect_score": None}
    compiled = small(target_lm=target(Adder()), **knobs).compile(student, trainset=examples())
    assert "runs of the program on far/away in 2 steps" in (said := capsys.readouterr().err)
    assert "and 4 calls, 40 tokens read and 12 written" in said
    usage = compiled.detailed_results.target_usage["far/away"]
    assert f"verified on far/away: {usage['calls']} calls" in compiled.detailed_results.summary()
    silent = small(target_lm=target(Adder(reports_usage=False)), **knobs)
    silent.compile(student, trainset=examples())
    assert "and 4 calls, no tokens reported" in capsys.readouterr().err


def test_the_report_names_the_target(student: dspy.Module, tmp_path: Path) -> None:
    compiled = small(target_lm=target(Adder())).compile(student, trainset=examples())
    page = compiled.detailed_results.report(tmp_path / "run.html").read_text()
    assert '<th scope="row">verified on</th><td>far/away</td>' in page
    spent = usage_text(compiled.detailed_results.target_usage)
    assert f"Verified on far/away: {spent}." in page


class KilledError(Exception):
    """Stands for the end of the process."""


def die(event: StepEvent) -> None:
    raise KilledError


@pytest.mark.slow
@SCHEDULES
def test_a_run_that_was_killed_goes_on_with_the_same_target_alone(
    schedule: PaperConfig | VerifiedConfig, student: dspy.Module, tmp_path: Path
) -> None:
    def compiled(name: str | None = "far/away", **knobs: Any) -> Any:
        far = name and target(Adder(changed), name)
        knobs = {"schedule": schedule, "target_lm": far, "perfect_score": None, **knobs}
        return small(**knobs).compile(student, trainset=examples()).detailed_results

    whole = compiled()
    with pytest.raises(KilledError):
        compiled(log_dir=tmp_path, callback=die)
    for other in ("far/other", None):
        with pytest.raises(CheckpointError, match="another target LM"):
            compiled(other, log_dir=tmp_path)
    resumed = compiled(log_dir=tmp_path)
    assert resumed.outcomes == whole.outcomes
    assert resumed.candidates == whole.candidates
    assert resumed.target == "far/away"
    assert resumed.target_usage["far/away"]["calls"] >= whole.target_usage["far/away"]["calls"]


@pytest.fixture
def served() -> Iterator[str]:
    """The address of a server that likes any instruction but the one at the start."""
    with stub_server(Adder(changed)) as url:
        yield url


def far_lm(url: str, **settings: Any) -> dspy.LM:
    return dspy.LM("openai/m", api_base=url, api_key="k", cache=False, num_retries=0, **settings)


@pytest.mark.parametrize("engine", ["auto", slow("litellm")])
def test_any_server_of_the_openai_kind_may_be_the_target(
    engine: str, served: str, student: dspy.Module
) -> None:
    far = far_lm(served, engine=engine)
    compiled = small(target_lm=far).compile(student, trainset=examples(), valset=examples(26)[6:])
    assert compiled.detailed_results.outcomes[0].score_after == 1.0


@pytest.mark.parametrize("engine", ["auto", slow("litellm")])
@pytest.mark.parametrize(
    ("status", "remedy"),
    [(500, "server runs"), (401, "api_key"), (404, "model"), (429, "num_threads=")],
)
def test_a_server_that_answers_nothing_ends_the_compile_and_says_what_to_do(
    status: int, remedy: str, engine: str, student: dspy.Module
) -> None:
    with stub_server(Adder(), status) as url:
        far = far_lm(url, engine=engine)
        # The trainset is smaller than max_errors: no run at all is an error, too.
        with pytest.raises(TooManyErrorsError, match="4 of 4 runs got no answer") as error:
            small(target_lm=far).compile(student, trainset=examples())
    assert remedy in str(error.value)
    assert "the machine is tired" in str(error.value)


def test_a_server_that_is_not_there_is_named(student: dspy.Module) -> None:
    with stub_server(Adder()) as url:
        pass
    with pytest.raises(TooManyErrorsError, match=r"server runs and is reached.*openai/m.*127"):
        small(target_lm=far_lm(url)).compile(student, trainset=examples())


def test_a_server_that_goes_away_costs_no_candidate_its_score(
    student: dspy.Module, tmp_path: Path
) -> None:
    def compiled(engine: Adder, callback: Any = None) -> Any:
        teleprompter = small(
            target_lm=target(engine), log_dir=tmp_path, callback=callback, perfect_score=None
        )
        return teleprompter.compile(student, trainset=examples()).detailed_results

    engine = Adder(changed)

    def goes(event: StepEvent) -> None:
        engine.fails = lm15.ServerError("gone")

    with pytest.raises(TooManyErrorsError, match=r"no answer.*the same compile then goes on.*gone"):
        compiled(engine, goes)
    record = compiled(Adder(changed))
    assert record.outcomes[0].steps == 2
    assert {score for each in record.candidates[1:] for score in each.train_scores} == {1.0}


# A served copy of the white box, which is asked as the white box is here.
AS_HERE = {"temperature": 0.0, "max_tokens": 6, "cache": False}


def on_a_copy(student: dspy.Module, far: dspy.LM | None, **knobs: Any) -> Any:
    knobs = {"target_lm": far, "perfect_score": None, **knobs}
    return small(**knobs).compile(student, trainset=examples()).detailed_results


def at(url: str, **settings: Any) -> dspy.LM:
    settings = {"api_base": url, "api_key": "k", "num_retries": 0, **settings}
    return dspy.LM("openai/copy", **AS_HERE, **settings)


@SCHEDULES
@pytest.mark.usefixtures("readable")
def test_on_a_copy_of_the_white_box_it_ends_as_here(
    schedule: PaperConfig | VerifiedConfig, student: dspy.Module
) -> None:
    here = on_a_copy(student, None, schedule=schedule)
    engine = Copy(lm_of())
    far = dspy.LM(NAME, engine=engine, num_retries=0, **AS_HERE)
    there = on_a_copy(student, far, schedule=schedule)
    assert [vars(each) for each in there.candidates] == [vars(each) for each in here.candidates]
    assert there.target_usage[NAME]["calls"] == engine.calls >= there.total_calls > 0
    assert there.counts["tokens_backward"] == here.counts["tokens_backward"]
    assert there.counts["tokens_decoded"] < here.counts["tokens_decoded"]


@pytest.mark.slow
def test_a_server_that_is_busy_now_and_then_is_asked_again(student: dspy.Module) -> None:
    here = on_a_copy(student, None)
    with copy_server(lm_of(), lambda number: 429 if number in (12, 40) else 200) as url:
        there = on_a_copy(student, at(url, num_retries=9))
    assert [vars(each) for each in there.candidates] == [vars(each) for each in here.candidates]


@pytest.mark.usefixtures("readable")
@pytest.mark.slow
def test_a_server_that_is_gone_for_good_ends_the_run_which_goes_on_elsewhere(
    student: dspy.Module, tmp_path: Path
) -> None:
    whole = on_a_copy(student, None)
    gone: list[StepEvent] = []
    with (
        copy_server(lm_of(), lambda number: 500 if gone else 200) as url,
        pytest.raises(TooManyErrorsError, match=r"no answer.*server runs.*goes on where it was"),
    ):
        on_a_copy(student, at(url), log_dir=tmp_path, callback=gone.append)
    saved = json.loads((tmp_path / "state.json").read_text())["state"]
    assert len(saved["record"]["candidates"]) > 1
    with copy_server(lm_of()) as url:
        resumed = on_a_copy(student, at(url), log_dir=tmp_path)
    assert [vars(each) for each in resumed.candidates] == [vars(each) for each in whole.candidates]


def test_no_key_is_written_anywhere(
    student: dspy.Module, lm: dspy.LM, tmp_path: Path, served: str
) -> None:
    key = "sk-secret-of-the-user"
    far = dspy.LM("openai/m", api_key=key, api_base=served, cache=False)
    student.predictors()[0].lm = far
    for name, knobs in {"own": {}, "named": {"target_lm": far}}.items():
        folder = tmp_path / name
        compiled = small(lm=lm, log_dir=folder, **knobs).compile(
            student, trainset=examples(), valset=examples(26)[6:]
        )
        compiled.detailed_results.report(folder / "run.html")
        compiled.save(folder / "program.json")
        (folder / "record.json").write_text(json.dumps(compiled.detailed_results.to_dict()))
        written = {path.name: path.read_text() for path in folder.iterdir()}
        assert {"state.json", "events.jsonl", "best_program.json"} <= written.keys()
        assert not [name for name, text in written.items() if key in text]
        assert "openai/m" in written["record.json"]
        assert key not in compiled.detailed_results.summary()
        assert compiled.detailed_results.improved


def test_a_target_that_is_no_lm_is_refused_at_once() -> None:
    for given, what in {"openai/gpt": "'openai/gpt'", (1, "x" * 999): "a tuple"}.items():
        with pytest.raises(TypeError, match=rf"target_lm must be a dspy.LM, not {what}:"):
            GreaterTeleprompter(metric, target_lm=given)


def test_a_program_whose_lm_is_elsewhere_is_told_of_the_white_box(student: dspy.Module) -> None:
    far = target(Adder())
    for named, where in {None: "own LM", far: "target_lm"}.items():
        words = rf"far/away.*lm = local_lm\(\.\.\.\).*verified on .*{where}"
        with dspy.context(lm=far), pytest.raises(NotWhiteBoxError, match=words):
            small(target_lm=named).compile(student, trainset=examples())
