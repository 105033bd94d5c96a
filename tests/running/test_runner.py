"""Which language model runs what."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

from dspy_greater.cost import Meter
from dspy_greater.lm import white_box
from dspy_greater.program import Metric, Run
from dspy_greater.program.predictors import predictors_of
from dspy_greater.running import ProgramRunner, TargetError, runner
from dspy_greater.running.lms import Target, target_of
from dspy_greater.search import Program
from tests.support.compiling import configured, examples, lm, lm_of, metric, student
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
    lm: dspy.LM, target_lm: dspy.LM | None, student: dspy.Module | None = None, **settings: Any
) -> ProgramRunner:
    """Three examples of each kind, verified on a target."""
    program = student or Two()
    predictors = predictors_of(program, examples(3))
    return ProgramRunner(
        student=program,
        start=Program.of({each.name: each.instruction for each in predictors}),
        predictors=predictors,
        train=examples(3),
        validation=examples(3),
        metric=Metric(metric),
        meter=Meter(),
        lm=lm,
        target=target_of(program, lm, target_lm),
        **settings,
    )


def verified(runs: ProgramRunner, count: int = 3, **settings: Any) -> list[Run]:
    """Run the student on training examples."""
    (done,) = runs.run({runs.start: range(count)}, **settings)
    return done


def target_found(*given: Any) -> Target:
    found = target_of(*given)
    assert found is not None
    return found


def test_the_white_box_needs_no_target(student: dspy.Module, lm: dspy.LM) -> None:
    with dspy.context(lm=None):
        assert target_of(student, lm) is None
    assert target_of(student, lm) is None  # the program's own
    assert target_of(student, lm.copy()) is None
    assert target_of(student, lm, lm) is None


def test_the_white_box_with_other_settings_is_a_target(student: dspy.Module, lm: dspy.LM) -> None:
    longer = lm.copy(max_tokens=9)
    assert target_found(student, lm, longer).given is longer
    with dspy.context(lm=longer):
        assert target_found(student, lm).lms == {"predict": longer}


def test_the_programs_own_lms_are_the_target(lm: dspy.LM) -> None:
    far, other = target(Adder()), target(Adder(), "far/other")
    with dspy.context(lm=far):
        program = Two()
        assert target_found(program, lm).models == ["far/away"]
        program.answer.lm = other
        found = target_found(program, lm)
        assert (found.lms, found.given) == ({"rewrite": far, "answer": other}, None)
        assert str(found) == "far/away, far/other"
        assert target_found(program, lm, other).models == ["far/other"]


def test_a_predictor_without_an_lm_beside_one_with_is_refused(lm: dspy.LM) -> None:
    program = Two()
    program.rewrite.lm = target(Adder())
    with dspy.context(lm=None), pytest.raises(TargetError, match=r"'answer'.*target_lm="):
        target_of(program, lm)


def test_runs_are_the_targets(lm: dspy.LM) -> None:
    engine = Adder()
    runs = of(lm, target(engine))
    assert [run.score for run in verified(runs)] == [1.0] * 3
    assert engine.calls == 6
    assert runs.validate([runs.start]) == [[1.0] * 3]
    assert engine.calls == 12


def test_runs_are_counted_by_who_made_them(lm: dspy.LM) -> None:
    runs = of(lm, target(Adder()))
    verified(runs)
    assert runs.meter.target["far/away"].calls == 6
    assert (runs.meter.total().tokens, runs.meter.counts.rollouts) == (0, 0)
    runs = of(lm, None)
    verified(runs)
    assert runs.meter.total().metric_calls == 3
    assert runs.meter.parse_failures == 3  # a random model
    assert runs.meter.total().tokens == runs.meter.counts.tokens > 0


def test_another_local_model_books_nothing_as_the_white_box(lm: dspy.LM) -> None:
    other = lm_of("qwen2")
    runs = of(lm, other)
    verified(runs)
    assert runs.meter.target[other.model].calls > 0
    assert runs.meter.counts.rollouts == 0


def test_a_program_is_run_with_its_instructions(lm: dspy.LM) -> None:
    runs = of(lm, target(Adder(lambda instruction: instruction == "Add well.")))
    programs = [runs.start, runs.start.replaced("answer", "Add well.")]
    wanted = dict(zip(programs, ([2, 0], [1]), strict=True))
    assert [[run.score for run in done] for done in runs.run(wanted)] == [[0.0, 0.0], [1.0]]
    assert runs.validate(programs) == [[0.0] * 3, [1.0] * 3]


def test_each_predictor_keeps_its_own_lm(lm: dspy.LM) -> None:
    engines = Adder(), Adder()
    program = Two()
    program.rewrite.lm, program.answer.lm = (target(engine) for engine in engines)
    runs = of(lm, None, program)
    assert [run.score for run in verified(runs)] == [1.0] * 3
    assert [engine.calls for engine in engines] == [3, 3]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many each evaluation is given; none is run."""
    given: list[int] = []

    def told(
        modules: list[dspy.Module], on: list[Any], *_: Any, num_threads: int, **more: Any
    ) -> list[list[Run]]:
        given.append(num_threads)
        return [[Run(0.0, None)] * len(own) for own in on]

    monkeypatch.setattr(runner, "run_programs", told)
    return given


def test_a_server_gets_as_many_requests_at_a_time_as_dspy_is_set_to(
    lm: dspy.LM, threads: list[int]
) -> None:
    with dspy.context(num_threads=3):
        verified(of(lm, target(Adder())))
        verified(of(lm, target(Adder()), num_threads=5))
        verified(of(lm, None))
        verified(of(lm, lm.copy(max_tokens=9)))
    assert threads == [3, 5, 128, 128]


def test_only_a_local_lm_is_stopped_at_the_adapters_mark(
    lm: dspy.LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, stops = Adder(), []
    verified(of(lm, target(engine, temperature=0.3)), 1)
    assert {(config.stop, config.temperature) for config in engine.configs} == {((), 0.3)}

    def told(
        modules: list[dspy.Module], on: list[Any], *_: Any, lms: list[dspy.LM], **more: Any
    ) -> Any:
        stops.append(lms[0].kwargs["stop"])
        return [[Run(0.0, None)] * len(own) for own in on]

    monkeypatch.setattr(runner, "run_programs", told)
    verified(of(lm, None))
    verified(of(lm, lm.copy(max_tokens=9, stop="END")))
    assert stops == [["\n[[ ## completed ## ]]"], ["END", "\n[[ ## completed ## ]]"]]


def test_a_limit_on_answers_lowers_the_white_boxs_own_and_no_targets(lm: dspy.LM) -> None:
    wide, asked = lm.copy(max_tokens=6), []
    for limit in (4, 9):
        before = white_box(lm).counts.snapshot()
        verified(of(wide, None, dspy.Predict("question -> answer")), 1, limit=limit)
        asked.append((white_box(lm).counts - before).tokens_decoded)
    assert asked == [2 * 4, 2 * 6]  # ChatAdapter asks twice
    engine = Adder()
    verified(of(lm, target(engine)), 1, limit=1)
    assert [config.max_tokens for config in engine.configs] == [
        target(engine).kwargs.get("max_tokens")
    ] * 2
