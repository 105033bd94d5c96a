"""Which language model runs what."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from dspy.clients.cache import Cache

from dspy_greater.cost import Meter
from dspy_greater.lm import white_box
from dspy_greater.program import Metric, Run, predictors_of
from dspy_greater.running import runner
from dspy_greater.running.lms import TargetError, rollouts_of, target_of
from dspy_greater.running.runner import ProgramRunner
from dspy_greater.search import Program
from tests.support.compiling import configured, examples, lm, lm_of, metric, student
from tests.support.copies import Copy, elsewhere
from tests.support.targets import Adder, target

__all__ = ["configured", "lm", "student"]


class Two(dspy.Module):
    """Two predictors, of which the second answers."""

    def __init__(self) -> None:
        super().__init__()
        self.rewrite = dspy.Predict("question -> query")
        self.answer = dspy.Predict("question, query -> answer")

    def forward(self, question: str) -> dspy.Prediction:
        return self.answer(question=question, query=self.rewrite(question=question).query)


def of(
    lm: dspy.LM, target_lm: dspy.LM | None, program: dspy.Module | None = None, **settings: Any
) -> ProgramRunner:
    student = program or Two()
    return ProgramRunner(
        student=student,
        predictors=predictors_of(student, examples()),
        train=examples(),
        validation=examples(3),
        metric=Metric(metric),
        meter=Meter(),
        lm=lm,
        target=target_of(student, lm, target_lm),
        **settings,
    )


def own(runner: ProgramRunner) -> Program:
    """Return the student's program."""
    return Program.of({each.name: each.instruction for each in runner.predictors})


def verify(runner: ProgramRunner, count: int = 6) -> list[Run]:
    (runs,) = runner.run([own(runner)], range(count))
    return runs


def sample(runner: ProgramRunner, count: int = 6) -> list[Run]:
    (runs,) = runner.sample(own(runner), range(count), [1], 1.0)
    return runs


def test_the_white_box_needs_no_target(student: dspy.Module, lm: dspy.LM) -> None:
    with dspy.context(lm=None):
        assert target_of(student, lm) is None
    assert target_of(student, lm) is None  # the program's own
    assert target_of(student, lm.copy()) is None
    assert target_of(student, lm, lm) is None


def test_the_white_box_with_other_settings_is_a_target(student: dspy.Module, lm: dspy.LM) -> None:
    longer = lm.copy(max_tokens=9)
    assert target_of(student, lm, longer).given is longer
    with dspy.context(lm=longer):
        assert target_of(student, lm).lms == {"predict": longer}


def test_the_programs_own_lms_are_the_target(lm: dspy.LM) -> None:
    far, other = target(Adder()), target(Adder(), "far/other")
    with dspy.context(lm=far):
        program = Two()
        assert target_of(program, lm).models == ["far/away"]
        program.answer.lm = other
        found = target_of(program, lm)
        assert (found.lms, found.given) == ({"rewrite": far, "answer": other}, None)
        assert str(found) == "far/away, far/other"
        assert target_of(program, lm, other).models == ["far/other"]


def test_a_predictor_without_an_lm_beside_one_with_is_refused(lm: dspy.LM) -> None:
    program = Two()
    program.rewrite.lm = target(Adder())
    with dspy.context(lm=None), pytest.raises(TargetError, match=r"'answer'.*target_lm="):
        target_of(program, lm)


def test_verified_runs_are_the_targets_and_samples_the_white_boxs(lm: dspy.LM) -> None:
    engine = Adder()
    runs = of(lm, target(engine))
    assert [run.score for run in verify(runs, 3)] == [1.0] * 3
    assert engine.calls == 6
    assert [run.parse_failed for run in sample(runs, 3)] == [True] * 3  # a random model
    assert engine.calls == 6


def test_each_predictor_keeps_its_own_lm(lm: dspy.LM) -> None:
    engines = Adder(), Adder()
    program = Two()
    program.rewrite.lm, program.answer.lm = (target(engine) for engine in engines)
    runs = of(lm, None, program)
    for verified in (verify(runs, 3), runs.repeat(own(runs), range(3))):
        assert [run.score for run in verified] == [1.0] * 3
    assert [engine.calls for engine in engines] == [6, 6]


@pytest.mark.parametrize("its_own", [False, True], ids=["named", "the program's own"])
def test_a_run_may_go_past_dspys_cache(
    its_own: bool, lm: dspy.LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dspy, "cache", Cache(False, True, None))  # in memory, and empty
    engine = Adder()
    far = target(engine, cache=True)
    with dspy.context(lm=far):
        runs = of(lm, None if its_own else far)
        verify(runs, 3)
        verify(runs, 3)
        again = runs.repeat(own(runs), range(3))
        assert engine.calls == 12  # six of them once, none twice, six again
        assert sum(run.usage[far.model].calls for run in again) == 6
        cached = verify(runs, 3)
    assert [run.usage for run in cached] == [{}] * 3
    assert runs.meter.total().metric_calls == 12
    assert runs.meter.target[far.model].calls == 12


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many each evaluation is given; none is run."""
    given: list[int] = []
    monkeypatch.setattr(
        runner,
        "run_programs",
        lambda programs, *_, num_threads, **more: given.append(num_threads) or [[]] * len(programs),
    )
    return given


def test_a_server_gets_as_many_requests_at_a_time_as_dspy_is_set_to(
    lm: dspy.LM, threads: list[int]
) -> None:
    with dspy.context(num_threads=3):
        verify(of(lm, target(Adder())))
        verify(of(lm, target(Adder()), num_threads=5))
        sample(of(lm, target(Adder())))
        verify(of(lm, lm.copy(max_tokens=9)))
    assert threads == [3, 5, 128, 128]


def test_a_rollout_lm_gets_64_requests_at_a_time_unless_told_otherwise(
    lm: dspy.LM, threads: list[int]
) -> None:
    copy = rollouts_of(lm, elsewhere(Copy(lm)))
    verify(of(lm, None, rollout_lm=copy))
    sample(of(lm, None, rollout_lm=copy))
    sample(of(lm, None, rollout_lm=copy, num_threads=5))
    sample(of(lm, None, rollout_lm=lm_of("qwen2")))
    with dspy.context(num_threads=3):
        verify(of(lm, target(Adder()), rollout_lm=copy))
    assert threads == [64, 64, 5, 128, 3]


def test_a_rollout_lm_has_the_white_boxs_settings_where_it_has_none(lm: dspy.LM) -> None:
    far, white = elsewhere(Copy(lm)), lm.copy(top_p=0.9, top_k=5, stop=["END"])
    taken = rollouts_of(white, far)
    assert taken.kwargs == {"temperature": 0.0, "max_tokens": 6, "top_p": 0.9}
    assert (taken.cache, far.kwargs) == (False, {"temperature": None, "max_tokens": None})
    own = rollouts_of(white, elsewhere(Copy(lm), temperature=0.5, max_tokens=4, top_p=1.0))
    assert own.kwargs == {"temperature": 0.5, "max_tokens": 4, "top_p": 1.0}


def test_the_white_box_is_no_rollout_lm_of_itself(lm: dspy.LM) -> None:
    assert rollouts_of(lm, None) is rollouts_of(lm, lm.copy()) is None
    with pytest.raises(TargetError, match="itself with other settings"):
        rollouts_of(lm, lm.copy(max_tokens=9))


def test_only_a_local_lm_is_stopped_at_the_adapters_mark(
    lm: dspy.LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, stops = Adder(), []
    verify(of(lm, target(engine, temperature=0.3)), 1)
    assert {(config.stop, config.temperature) for config in engine.configs} == {((), 0.3)}
    monkeypatch.setattr(
        runner,
        "run_programs",
        lambda *given, lms, **more: stops.append(lms[0].kwargs["stop"]) or [[]],
    )
    verify(of(lm, None))
    verify(of(lm, lm.copy(max_tokens=9, stop="END")))
    assert stops == [["\n[[ ## completed ## ]]"], ["END", "\n[[ ## completed ## ]]"]]


def test_a_limit_on_answers_lowers_the_white_boxs_own_and_no_targets(lm: dspy.LM) -> None:
    wide, asked = lm.copy(max_tokens=6), []
    for limit in (4, 9):
        before = white_box(lm).counts.snapshot()
        runs = of(wide, None, dspy.Predict("question -> answer"))
        runs.run([own(runs)], [0], limit)
        asked.append((white_box(lm).counts - before).tokens_decoded)
    assert asked == [2 * 4, 2 * 6]  # ChatAdapter asks twice
    engine = Adder()
    runs = of(lm, target(engine))
    runs.run([own(runs)], [0], 1)
    assert [config.max_tokens for config in engine.configs] == [
        target(engine).kwargs.get("max_tokens")
    ] * 2
