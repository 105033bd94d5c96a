"""The published schedule on a toy world with known losses."""

from __future__ import annotations

import math
import random

import pytest

from dspy_greater.search import Judge, LossError, PaperConfig, PaperSchedule
from tests.support.fakes import FakeModel, FakeView


def schedule(
    subject: FakeView, start: str = "read the answer .", seed: int = 0, **knobs: object
) -> PaperSchedule:
    config = PaperConfig(**{"max_steps": 6, "top_k": 10, "fluency_weight": 0.0, **knobs})
    judge = Judge(lambda text: [0.0], perfect_score=None)
    return PaperSchedule(subject, config, random.Random(seed), judge, start)


def test_the_search_finds_the_words_that_lower_the_loss() -> None:
    *_, last = schedule(FakeView()).steps()
    assert last.incumbent.instruction.split()[:3] == ["count", "count", "count"]
    assert last.incumbent.score == 1.0


def test_a_worse_candidate_is_never_kept() -> None:
    losses = [step.incumbent.loss for step in schedule(FakeView(), "count guess .").steps()]
    assert losses == sorted(losses, reverse=True)
    model = FakeModel(likely=("guess", "quickly"))
    *_, last = schedule(FakeView(model), "count items .", shortlist_size=1, top_k=1).steps()
    assert last.incumbent.instruction == "count items ."
    assert not last.accepted


def test_positions_go_left_to_right_and_wrap_after_a_full_stop() -> None:
    steps = list(schedule(FakeView(), "read the .", max_steps=7).steps())
    # The full stop itself is replaced in the first pass, from where on the instruction grows.
    assert [step.position for step in steps[:3]] == [0, 1, 2]
    kept = FakeView(unstable=frozenset({"count", "items", "carefully", "slowly"}))
    steps = list(schedule(kept, "read the .", max_steps=5).steps())
    assert [step.position for step in steps] == [0, 1, 2, 0, 1]
    assert not any(step.grew for step in steps)


def test_without_a_full_stop_the_instruction_grows_up_to_its_limit() -> None:
    steps = list(schedule(FakeView(), "read the", max_steps=8, max_instruction_tokens=4).steps())
    assert [step.position for step in steps] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [step.grew for step in steps[:4]] == [False, False, True, True]
    assert len(steps[-1].incumbent.tokens) == 4


def test_one_backward_pass_serves_all_positions_until_the_instruction_changes() -> None:
    subject = FakeView(unstable=frozenset({"count", "items", "carefully"}))
    list(schedule(subject, max_steps=6).steps())
    assert subject.model.backward_items == subject.examples


def test_no_instruction_is_generated_twice() -> None:
    subject = FakeView()
    list(schedule(subject, max_steps=12).steps())
    assert len(subject.roll_outs) == len(set(subject.roll_outs))


def test_a_position_visited_again_gets_new_candidates() -> None:
    subject = FakeView(unstable=frozenset({"count", "items", "carefully"}))
    steps = list(schedule(subject, max_steps=8, shortlist_size=2).steps())
    assert not any(step.accepted for step in steps)
    texts = [trial.instruction for step in steps for trial in step.tried]
    assert len(texts) == len(set(texts)) == 8 * 2


def test_edits_that_do_not_survive_are_passed_over() -> None:
    subject = FakeView(unstable=frozenset({"count"}))
    for step in schedule(subject).steps():
        assert all("count" not in trial.instruction for trial in step.tried)
        assert len(step.tried) == 3


def test_the_same_seed_gives_the_same_steps() -> None:
    def run(seed: int) -> list[str]:
        steps = schedule(FakeView(), seed=seed, top_k=3, shortlist_size=1).steps()
        return [step.incumbent.instruction for step in steps]

    assert run(3) == run(3)


def test_examples_with_nan_losses_are_skipped_and_counted() -> None:
    subject = FakeView(FakeModel(nan_examples=frozenset({1, 4})))
    search = schedule(subject, max_steps=1, shortlist_size=1)
    first = next(iter(search.steps()))
    assert first.incumbent.skipped == 2
    assert math.isfinite(first.incumbent.loss)
    assert search.skipped == 3 * 2  # the start, its gradient and one candidate


def test_nothing_but_nan_is_an_error_that_says_what_to_do() -> None:
    subject = FakeView(FakeModel(nan_examples=frozenset(range(6))))
    with pytest.raises(LossError, match="float32"):
        next(iter(schedule(subject).steps()))


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("max_steps", 0),
        ("top_k", -1),
        ("shortlist_size", 1.5),
        ("temperature", 0),
        ("fluency_weight", -1),
    ],
)
def test_senseless_knobs_are_refused(knob: str, value: object) -> None:
    with pytest.raises(ValueError, match=knob):
        PaperConfig(**{knob: value})
