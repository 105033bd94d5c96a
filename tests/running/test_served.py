"""Runs of the white box on another copy of it, elsewhere."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dspy
import pytest
import torch
from dspy import lm15

from dspy_greater import GreaterTeleprompter, StepEvent, VerifiedConfig, local_lm
from dspy_greater.program import TooManyErrorsError
from dspy_greater.record import CheckpointError, usage_text
from dspy_greater.running import TargetError, served
from dspy_greater.running.served import ServedError
from examples.published_schedule import PaperConfig
from tests.support.compiling import (
    SCHEDULES,
    configured,
    examples,
    lm,
    lm_of,
    metric,
    readable,
    small,
    student,
)
from tests.support.copies import NAME, Copy, copy_server, elsewhere
from tests.support.targets import Adder, target
from tests.support.tiny import make_model, make_tokenizer

__all__ = ["configured", "lm", "readable", "student"]


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model differs from others at once."""
    monkeypatch.setattr(served, "TOKENS", 12)


@pytest.fixture
def engine() -> Copy:
    """A server with the white box's weights in a process of its own, as it were."""
    return Copy(lm_of())


def compiled(student: dspy.Module, **knobs: Any) -> Any:
    settings = {"perfect_score": None, **knobs}
    return small(**settings).compile(student, trainset=examples()).detailed_results


@SCHEDULES
@pytest.mark.usefixtures("readable")
def test_all_runs_of_the_program_are_the_servers_and_end_as_those_here(
    schedule: PaperConfig | VerifiedConfig, student: dspy.Module, engine: Copy
) -> None:
    here = compiled(student, schedule=schedule)
    there = compiled(student, schedule=schedule, rollout_lm=elsewhere(engine))
    assert [vars(each) for each in there.candidates] == [vars(each) for each in here.candidates]
    usage = there.rollout_usage[NAME]
    checks = sum(config.max_tokens == served.TOKENS for config in engine.configs)
    assert (there.rollout_lm, usage["calls"]) == (NAME, engine.calls - checks)
    assert usage["calls"] >= there.total_calls > 0
    assert usage["tokens_read"] > usage["tokens_written"] > 0
    assert there.phases["served"] > 0
    assert there.counts["backwards"] == here.counts["backwards"]
    # What is left is the white box's part in the check, and what it proposes.
    assert there.counts["tokens_decoded"] < here.counts["tokens_decoded"] + 9 * 12
    assert f"rollouts on {NAME}: {usage['calls']} calls" in there.summary()
    assert (here.rollout_lm, here.rollout_usage, here.phases["served"]) == ("", {}, 0)


def test_beside_a_target_it_has_nothing_to_run(student: dspy.Module, engine: Copy) -> None:
    with pytest.raises(TargetError, match="runs nothing where far/away verifies: leave rollout_lm"):
        compiled(student, target_lm=target(Adder()), rollout_lm=elsewhere(engine))
    assert engine.calls == 0


def test_a_local_copy_may_do_it(student: dspy.Module) -> None:
    other = lm_of()
    record = compiled(student, rollout_lm=other)
    assert record.rollout_usage[other.model]["calls"] > 0


def test_its_tokens_count_against_the_bound(student: dspy.Module, engine: Copy) -> None:
    events: list[StepEvent] = []
    knobs = {"rollout_lm": elsewhere(engine), "callback": events.append}
    usage = compiled(student, **knobs).rollout_usage[NAME]
    assert events[-1].tokens > usage["tokens_read"] + usage["tokens_written"] > 0
    bounded = compiled(student, max_tokens=events[-1].tokens // 2, **knobs)
    assert "max_tokens" in bounded.outcomes[0].stopped


def test_what_goes_there_is_said_before(
    student: dspy.Module, engine: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled(student, rollout_lm=elsewhere(engine), progress=True)
    assert f"runs of the program on {NAME} in 2 steps" in (said := capsys.readouterr().err)
    assert "tokens read and" in said


def test_the_report_names_it(student: dspy.Module, engine: Copy, tmp_path: Path) -> None:
    record = compiled(student, rollout_lm=elsewhere(engine))
    page = record.report(tmp_path / "run.html").read_text()
    assert f'<th scope="row">rollouts on</th><td>{NAME}</td>' in page
    assert f"Rollouts on {NAME}: {usage_text(record.rollout_usage)}." in page


# What is refused before the search.


def other_weights(share: float) -> dspy.LM:
    """The white box with noise in its weights, as a share of their spread."""
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            weights += share * weights.std().nan_to_num() * torch.randn_like(weights)
    return local_lm((model, tokenizer), max_tokens=6, cache=False)


def refused(student: dspy.Module, engine: Copy, **knobs: Any) -> str:
    """Compile, and return why that was refused, before the program was run once."""
    runs: list[Any] = []

    def counted(*given: Any) -> bool:
        runs.append(given)
        return metric(*given)

    with pytest.raises(ServedError) as error:
        compiled(student, metric=counted, rollout_lm=elsewhere(engine), **knobs)
    assert runs == []
    return str(error.value)


def test_other_weights_are_refused(student: dspy.Module) -> None:
    said = refused(student, Copy(other_weights(0.1)))
    for words in (NAME, "other weights", "predictor 'predict'", "question", "it wrote '"):
        assert words in said
    assert "and the white box '" in said
    assert "give it as target_lm=" in said


def test_the_same_weights_in_another_number_format_are_not(student: dspy.Module) -> None:
    engine = Copy(lm_of(dtype=torch.bfloat16))
    assert compiled(student, rollout_lm=elsewhere(engine)).rollout_lm == NAME


def test_no_warning_is_given_of_answers_that_are_meant_to_be_short(
    student: dspy.Module, engine: Copy, caplog: pytest.LogCaptureFixture
) -> None:
    assert compiled(student, rollout_lm=elsewhere(engine)).rollout_lm == NAME
    assert not [entry for entry in caplog.records if "truncated" in entry.getMessage()]


def test_a_server_with_another_chat_template_is_told_so(student: dspy.Module) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace("\n", "\nyou: ")
    model = make_model("llama", len(tokenizer))
    engine = Copy(local_lm((model, tokenizer), max_tokens=6, cache=False))
    assert "its chat template or tokenizer is another one" in refused(student, engine)


def test_a_server_that_ends_its_answers_too_soon_is_refused(
    student: dspy.Module, engine: Copy
) -> None:
    def short(response: lm15.Response) -> lm15.Response:
        text = response.message.parts[0].text
        message = lm15.Message.assistant(text[: len(text) // 2])
        return replace(response, message=message, finish_reason="stop")

    engine.answers = short
    assert "it ended its answer, where the white box goes on" in refused(student, engine)


def test_a_server_that_says_nothing_is_refused(student: dspy.Module, engine: Copy) -> None:
    engine.answers = lambda response: replace(response, message=lm15.Message.assistant(""))
    assert "nothing at all" in refused(student, engine)


def test_a_server_that_is_not_there_is_named_with_a_remedy(
    student: dspy.Module, engine: Copy
) -> None:
    engine.fails = lm15.ServerError("gone")
    said = refused(student, engine)
    assert "gave no answer to the prompt of predictor 'predict'" in said
    assert "See that its server runs" in said


def test_a_rollout_lm_that_is_no_lm_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"rollout_lm must be a dspy.LM, not 'openai/m'"):
        GreaterTeleprompter(metric, rollout_lm="openai/m")


def test_it_is_among_the_parameters(engine: Copy) -> None:
    far = elsewhere(engine)
    twin = GreaterTeleprompter(**small(rollout_lm=far).get_params())
    assert twin.rollout_lm is far


# What happens on the way.


class KilledError(Exception):
    """Stands for the end of the process."""


def die(event: StepEvent) -> None:
    raise KilledError


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_with_the_same_server_alone(
    student: dspy.Module, engine: Copy, tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        compiled(student, rollout_lm=elsewhere(engine), log_dir=tmp_path, callback=die)
    for other in (elsewhere(engine, "far/other"), None):
        with pytest.raises(CheckpointError, match="another rollout LM"):
            compiled(student, rollout_lm=other, log_dir=tmp_path)
    whole = compiled(student, rollout_lm=elsewhere(engine))
    resumed = compiled(student, rollout_lm=elsewhere(engine), log_dir=tmp_path)
    assert [vars(c) for c in resumed.candidates] == [vars(c) for c in whole.candidates]
    assert resumed.rollout_usage[NAME]["calls"] >= whole.rollout_usage[NAME]["calls"]


def at(url: str, **settings: Any) -> dspy.LM:
    settings = {"api_base": url, "api_key": "k", "num_retries": 0, **settings}
    return dspy.LM("openai/copy", **settings)


@pytest.mark.slow
def test_a_server_that_is_busy_now_and_then_is_asked_again(student: dspy.Module) -> None:
    here = compiled(student)
    with copy_server(lm_of(), lambda number: 429 if number in (12, 40) else 200) as url:
        there = compiled(student, rollout_lm=at(url, num_retries=9))
    assert [vars(each) for each in there.candidates] == [vars(each) for each in here.candidates]


@pytest.mark.usefixtures("readable")
@pytest.mark.slow
def test_a_server_that_is_gone_for_good_ends_the_run_which_goes_on_elsewhere(
    student: dspy.Module, tmp_path: Path
) -> None:
    whole = compiled(student)
    gone: list[StepEvent] = []
    with (
        copy_server(lm_of(), lambda number: 500 if gone else 200) as url,
        pytest.raises(TooManyErrorsError, match=r"no answer.*server runs.*goes on where it was"),
    ):
        compiled(student, rollout_lm=at(url), log_dir=tmp_path, callback=gone.append)
    saved = json.loads((tmp_path / "state.json").read_text())["state"]
    assert len(saved["record"]["candidates"]) > 1
    with copy_server(lm_of()) as url:
        resumed = compiled(student, rollout_lm=at(url), log_dir=tmp_path)
    assert [vars(each) for each in resumed.candidates] == [vars(each) for each in whole.candidates]
