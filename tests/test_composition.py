"""Composing with the rest of DSPy: few-shot demos, other optimizers, fine-tuning, contexts, usage.

Every test is a small pipeline such as a user would write.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy.clients.provider import Provider, TrainingJob
from dspy.teleprompt import BetterTogether, BootstrapFewShot, BootstrapFinetune, LabeledFewShot
from dspy.utils import DummyLM
from dspy.utils.exceptions import LMError, LMUnsupportedFeatureError

from dspy_greater.lm import white_box
from dspy_greater.model import WhiteBox
from tests.support.compiling import (
    SCHEDULES,
    START,
    configured,
    examples,
    lm,
    metric,
    small,
    student,
)
from tests.support.composing import (
    TASK,
    Contrary,
    Listener,
    better_letters,
    improved,
    instructions,
    letters,
    messages,
    quick,
    small_lm,
    sums,
    willing,
    worth,
)
from tests.support.marks import slow

__all__ = ["configured", "lm", "student"]


def labelled(program: dspy.Module) -> dspy.Module:
    """Demos as the dataset has them."""
    return LabeledFewShot(k=2).compile(program, trainset=examples())


def bootstrapped(program: dspy.Module) -> dspy.Module:
    """Demos with the reasoning of a teacher."""
    teacher = DummyLM([{"reasoning": "counting on", "answer": str(n + 3)} for n in range(6)])
    few_shot = BootstrapFewShot(
        metric, max_bootstrapped_demos=2, max_labeled_demos=3, teacher_settings={"lm": teacher}
    )
    return few_shot.compile(program, trainset=examples())


FEW_SHOT = pytest.mark.parametrize("few_shot", [labelled, slow(bootstrapped)])


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Any]]:
    """The messages of every prompt that the white box reads, to generate or for a gradient."""
    read: list[Sequence[Any]] = []
    encode = WhiteBox.encode

    def noting(self: WhiteBox, messages: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        read.append(messages)
        return encode(self, messages, *args, **kwargs)

    monkeypatch.setattr(WhiteBox, "encode", noting)
    return read


@FEW_SHOT
@SCHEDULES
def test_demos_made_before_are_kept_and_stand_in_every_prompt(
    few_shot: Any, schedule: Any, student: dspy.Module, prompts: list[Sequence[Any]]
) -> None:
    program = few_shot(student)
    before = [dict(demo) for demo in program.predictors()[0].demos]
    compiled = small(schedule=schedule, max_steps=1).compile(program, trainset=examples())
    assert [dict(demo) for demo in compiled.predictors()[0].demos] == before != []
    (expected,) = messages(program, dspy.ChatAdapter())
    turns = expected[1:-1]
    assert len(turns) == 2 * len(before)
    # An instruction by itself is read, too, to see that it leaves room for an answer.
    of_the_program = [each for each in prompts if each[0]["role"] == "system" and len(each) > 1]
    assert len(of_the_program) > 20
    # ChatAdapter's second attempt at an output that did not parse is JSONAdapter's prompt.
    chat = [each for each in of_the_program if "[[ ## answer ## ]]" in each[0]["content"]]
    json = [each for each in of_the_program if "[[ ## answer ## ]]" not in each[0]["content"]]
    (expected_json,) = messages(program, dspy.JSONAdapter())
    assert chat
    assert all(list(each[1:-1]) == turns for each in chat)
    assert all(list(each[1:-1]) == expected_json[1:-1] for each in json)


@FEW_SHOT
def test_demos_made_afterwards_go_with_the_new_instruction(few_shot: Any) -> None:
    compiled = improved(Contrary())
    answer = compiled.answer
    assert answer.signature.instructions != START
    with_demos = few_shot(answer)
    assert with_demos.signature.instructions == answer.signature.instructions
    assert with_demos.demos


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["words -> demos", "demos -> words"])
def test_better_together_runs_it_in_any_order(strategy: str) -> None:
    program = dspy.Predict(TASK.program().signature)
    program.set_lm(small_lm())
    optimizer = BetterTogether(
        TASK.metric, words=quick(max_metric_calls=60), demos=LabeledFewShot(k=1)
    )
    compiled = optimizer.compile(
        program, trainset=letters("train", 4), valset=letters("validation", 4), strategy=strategy
    )
    assert not compiled.flag_compilation_error_occurred
    steps = {each["strategy"]: each["program"] for each in compiled.candidate_programs}
    assert set(steps) == {"", strategy.split(" -> ")[0], strategy}
    assert len(steps[strategy].demos) == 1
    assert steps[strategy].detailed_results.total_calls > 8
    assert all(white_box(each.lm) is white_box(small_lm()) for each in steps.values())


def contrary(lm: dspy.LM) -> dspy.Module:
    program = Contrary()
    program.set_lm(lm)
    return program


def test_better_together_keeps_better_words(lm: dspy.LM, tmp_path: Path) -> None:
    compiled = BetterTogether(worth, words=willing()).compile(
        contrary(lm), trainset=sums(4), valset=sums(6, start=10), strategy="words"
    )
    best, first = compiled.candidate_programs
    assert (best["strategy"], best["score"]) == ("words", 100.0)
    assert (first["strategy"], first["score"]) == ("", 0.0)
    assert START not in instructions(compiled)
    assert compiled.detailed_results.improved
    compiled.save(tmp_path / "program.json")
    loaded = Contrary()
    loaded.load(tmp_path / "program.json")
    assert instructions(loaded) == instructions(compiled)


def test_better_together_hands_on_teachers_and_further_arguments(lm: dspy.LM) -> None:
    teacher = contrary(lm)
    compiled = BetterTogether(worth, words=willing()).compile(
        contrary(lm),
        trainset=sums(2),
        valset=sums(2, start=20),
        teacher=[teacher],  # a list, whatever it was given
        strategy="words",
        optimizer_compile_args={"words": {"trainset": sums(5), "valset": sums(6, start=10)}},
    )
    assert not compiled.flag_compilation_error_occurred
    record = compiled.candidate_programs[0]["program"].detailed_results
    assert (record.train_examples, record.validation_examples) == (5, 6)
    assert instructions(teacher) == [START, START]


def test_better_together_is_the_parent_of_our_compile_for_callbacks(lm: dspy.LM) -> None:
    listener, words = Listener(), willing()
    outer = BetterTogether(worth, words=words)
    with dspy.context(callbacks=[listener]):
        outer.compile(contrary(lm), trainset=sums(3), valset=sums(3, start=10), strategy="words")
    first, second = listener.of("compile start")
    ended = listener.of("compile end")
    assert (first["instance"], second["instance"]) == (outer, words)
    assert second["parent"] == first["call_id"] != second["call_id"]
    assert [each["call_id"] for each in ended] == [second["call_id"], first["call_id"]]
    assert [each["parent"] for each in ended] == [first["call_id"], None]


def test_better_together_goes_back_to_the_program_where_our_step_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = dspy.LM("openai/served", api_key="none")  # gives no gradients
    with caplog.at_level(logging.ERROR, "dspy"):
        compiled = BetterTogether(worth, words=willing()).compile(
            contrary(api), trainset=sums(3), valset=sums(3, start=10), strategy="words"
        )
    assert compiled.flag_compilation_error_occurred
    assert instructions(compiled) == [START, START]
    assert "lm = local_lm(...)" in caplog.text


class Trainer(Provider):
    """Stands where a fine-tuning service or a local training run would; keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.finetunable = True
        self.jobs: list[TrainingJob] = []

    def finetune(self, job: TrainingJob, model: str, *args: Any, **kwargs: Any) -> str:
        self.jobs.append(job)
        return f"{model}-tuned"


@pytest.mark.slow
def test_fine_tuning_afterwards_trains_on_the_new_instruction() -> None:
    trainer = Trainer()
    program = better_letters().deepcopy()
    program.set_lm(small_lm().copy(provider=trainer))
    finetune = BootstrapFinetune(TASK.metric, num_threads=8, train_kwargs={"epochs": 2})
    tuned = finetune.compile(program, trainset=letters("test", 8))
    (job,) = trainer.jobs
    assert job.train_kwargs == {"epochs": 2}
    assert job.train_data
    for row in job.train_data:
        system, user, assistant = row["messages"]
        assert system["content"].endswith(f"        {instructions(program)[0]}")
        assert "[[ ## question ## ]]" in user["content"]
        assert "[[ ## answer ## ]]" in assistant["content"]
    assert instructions(tuned) == instructions(program) != instructions(TASK.program())
    assert tuned.lm.model == f"{small_lm().model}-tuned"
    with pytest.raises(LMError, match="Load the other model with local_lm"):
        tuned(question="Why?")  # nobody trained it: the old weights do not answer in its name


@pytest.mark.slow
def test_fine_tuning_asks_for_a_provider_as_it_does_of_any_lm() -> None:
    program = better_letters().deepcopy()
    program.set_lm(small_lm())
    with pytest.raises(LMUnsupportedFeatureError, match="setting `provider`"):
        BootstrapFinetune(TASK.metric, num_threads=8).compile(program, trainset=letters("test", 8))


@pytest.mark.slow
def test_fine_tuning_refuses_a_program_without_lms_with_dspys_own_words() -> None:
    with (
        dspy.context(lm=small_lm()),
        pytest.raises(ValueError, match="does not have an LM assigned"),
    ):
        BootstrapFinetune(TASK.metric).compile(better_letters(), trainset=letters("test", 8))


def test_contexts_inside_of_contexts_decide(student: dspy.Module, lm: dspy.LM) -> None:
    other = DummyLM([{"reasoning": "r", "answer": "a"}])
    with (
        dspy.context(lm=other, adapter=dspy.ChatAdapter()),
        dspy.context(lm=lm, adapter=dspy.XMLAdapter(), callbacks=[listener := Listener()]),
    ):
        small(max_steps=1).compile(student, trainset=examples())
    assert not other.history
    asked = [each["inputs"]["messages"][0]["content"] for each in listener.of("lm start")]
    assert "<reasoning>" in asked[0]
    assert not any("[[ ## reasoning ## ]]" in system for system in asked)


@pytest.mark.slow
def test_a_compiled_program_says_what_a_run_used() -> None:
    program, question = better_letters(), letters("test", 1)[0].question
    with dspy.context(lm=small_lm(), track_usage=True):
        usage = program(question=question).get_lm_usage()[small_lm().model]
    (prompt,) = messages(program, dspy.ChatAdapter(), question)
    assert usage["prompt_tokens"] == len(white_box(small_lm()).encode(prompt).ids)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_compile_may_be_tracked_too(student: dspy.Module) -> None:
    with dspy.context(track_usage=True), dspy.track_usage() as usage:
        compiled = small(max_steps=1, num_threads=1).compile(student, trainset=examples())
    (tokens,) = usage.get_total_tokens().values()
    # Each run has a tracker of its own in DSPy's threads, but with one thread there are none.
    assert tokens["completion_tokens"] == compiled.detailed_results.counts["tokens_decoded"]
