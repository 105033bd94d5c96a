"""What DSPy and its tools expect of any optimizer, held to the behaviour of DSPy's own."""

from __future__ import annotations

import copy
import inspect
import random
from typing import Any, NamedTuple

import cloudpickle
import dspy
import numpy as np
import pytest
import torch
from dspy.teleprompt import Teleprompter

from dspy_greater import GreaterTeleprompter
from dspy_greater.lm import white_box
from dspy_greater.program import DataError
from tests.support.compiling import SCHEDULES, configured, examples, lm, metric, small, student
from tests.support.composing import Listener

__all__ = ["configured", "lm", "student"]


def test_get_params_gives_back_the_arguments_by_name() -> None:
    params = small(seed=3, max_tokens=500, num_threads=2, predictors=["a"]).get_params()
    assert params["metric"] is metric
    assert (params["seed"], params["max_tokens"], params["num_threads"]) == (3, 500, 2)
    assert params["predictors"] == ["a"]
    assert params.keys() <= inspect.signature(GreaterTeleprompter).parameters.keys()


@pytest.mark.parametrize("knobs", [{}, {"auto": "heavy"}, {"max_steps": 3}, {"max_seconds": 60}])
def test_get_params_makes_the_same_optimizer_again(knobs: dict[str, Any]) -> None:
    teleprompter = GreaterTeleprompter(metric, **knobs)
    again = GreaterTeleprompter(**teleprompter.get_params())
    assert again.get_params() == teleprompter.get_params()
    assert again.get_config() == teleprompter.get_config()


def test_what_is_done_to_the_params_is_not_done_to_the_optimizer() -> None:
    teleprompter = small()
    teleprompter.get_params().update(seed=99, trainset=[])
    assert teleprompter.seed == 0
    assert not hasattr(teleprompter, "trainset")


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda each: cloudpickle.loads(cloudpickle.dumps(each))]
)
def test_an_optimizer_can_be_copied_and_pickled(twin: Any, lm: dspy.LM) -> None:
    teleprompter = small(seed=5, lm=lm)
    copied = twin(teleprompter)
    assert copied.get_config() == teleprompter.get_config()
    assert copied.seed == 5
    assert white_box(copied.lm).fingerprint == white_box(lm).fingerprint
    assert copied.metric.score(*[examples(1)[0]] * 2) == 1.0


class Heard(NamedTuple):
    """A compile with a listener, and what went in and came out."""

    listener: Listener
    teleprompter: GreaterTeleprompter
    student: dspy.Module
    trainset: list[dspy.Example]
    compiled: dspy.Module


@pytest.fixture(scope="module")
def heard(lm: dspy.LM) -> Heard:
    listener, teleprompter, trainset = Listener(), small(max_steps=1), examples()
    program = dspy.ChainOfThought("question -> answer")
    with dspy.context(lm=lm, callbacks=[listener]):
        compiled = teleprompter.compile(program, trainset=trainset)
    return Heard(listener, teleprompter, program, trainset, compiled)


def test_callbacks_are_told_of_the_bound_inputs_and_the_result(heard: Heard) -> None:
    (start,), (end,) = (heard.listener.of(f"compile {when}") for when in ("start", "end"))
    assert start["instance"] is heard.teleprompter
    assert start["inputs"] == {
        "student": heard.student,
        "trainset": heard.trainset,
        "teacher": None,
        "valset": None,
    }
    assert start["parent"] is None is end["parent"]
    assert end["call_id"] == start["call_id"]
    assert end["outputs"] is heard.compiled
    assert end["exception"] is None


def test_the_runs_of_a_compile_are_its_children_in_every_thread(heard: Heard) -> None:
    (start,) = heard.listener.of("compile start")
    runs = [
        each
        for each in heard.listener.of("module start")
        if isinstance(each["instance"], dspy.ChainOfThought)
    ]
    assert {each["parent"] for each in runs} == {start["call_id"]}
    assert len({each["call_id"] for each in runs}) == len(runs)
    assert len(runs) == heard.compiled.detailed_results.total_calls
    assert len(heard.listener.of("lm start")) >= len(runs)


def test_callbacks_hear_the_exception_that_the_caller_gets(student: dspy.Module) -> None:
    listener = Listener()
    with dspy.context(callbacks=[listener]), pytest.raises(DataError) as raised:
        small().compile(student, trainset=[])
    (start,), (end,) = (listener.of(f"compile {when}") for when in ("start", "end"))
    assert end["call_id"] == start["call_id"]
    assert end["exception"] is raised.value
    assert end["outputs"] is None


def test_a_subclass_is_told_of_once(student: dspy.Module) -> None:
    class Mine(GreaterTeleprompter):
        def compile(self, student: dspy.Module, **data: Any) -> dspy.Module:
            return super().compile(student, **data)

    listener = Listener()
    with dspy.context(callbacks=[listener]), pytest.raises(DataError):
        Mine(metric).compile(student, trainset=[])
    (start,) = listener.of("compile start")
    assert isinstance(start["instance"], Mine)


def test_tools_that_walk_dspys_optimizers_find_it() -> None:
    assert GreaterTeleprompter in Teleprompter.__subclasses__()
    names = inspect.signature(GreaterTeleprompter.compile).parameters
    assert {"student", "trainset", "teacher", "valset"} <= names.keys()


def test_every_tried_instruction_is_in_the_statistics_and_the_best_comes_first(
    student: dspy.Module,
) -> None:
    compiled = small().compile(student, trainset=examples())
    record = compiled.detailed_results
    entries = compiled.candidate_programs
    assert len(entries) == len(record.candidates) > 2
    assert {each["instruction"] for each in entries} == {
        each.instruction for each in record.candidates
    }
    scores = [each["score"] for each in entries if each["score"] is not None]
    assert scores == sorted(scores, reverse=True)
    assert [each["score"] for each in entries[: len(scores)]] == scores
    assert record.total_calls >= sum(len(each.train_scores) for each in record.candidates)
    for candidate in record.candidates:
        assert len(candidate.validation_scores or [0, 0]) == record.validation_examples
        assert len(candidate.train_scores) <= record.train_examples


@SCHEDULES
def test_no_global_random_state_is_touched(schedule: Any, student: dspy.Module) -> None:
    def states() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    small(schedule=schedule).compile(student, trainset=examples())
    assert states() == before


def test_no_setting_of_dspy_is_touched(student: dspy.Module, lm: dspy.LM) -> None:
    before = {name: dspy.settings.get(name) for name in ("lm", "adapter", "callbacks", "trace")}
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter(), trace=[], callbacks=[Listener()]):
        inside = dict(dspy.settings.config)
        small(max_steps=1).compile(student, trainset=examples())
        assert dict(dspy.settings.config) == inside
        assert dspy.settings.trace == []
    assert {name: dspy.settings.get(name) for name in before} == before
