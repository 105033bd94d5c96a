"""The published schedule on a toy world with known losses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest

from dspy_greater.search import Program, Step
from examples.published_schedule import LossError, PaperConfig, PaperSchedule, PaperState
from tests.support.fakes import (
    NAME,
    FakeModel,
    FakeRunner,
    FakeView,
    board_of,
    steps_of,
    toy,
)


def schedule(
    view: FakeView | None = None,
    start: str = "read the answer .",
    seed: int = 0,
    perfect_score: float | None = None,
    **knobs: Any,
) -> PaperSchedule:
    config = PaperConfig(**{"max_steps": 6, "top_k": 10, "fluency_weight": 0.0, **knobs})
    view = view or FakeView()
    board = board_of(FakeRunner(view.size), perfect_score)
    return PaperSchedule(view, config, board, str(seed), PaperState(start))


def steps(search: PaperSchedule) -> list[Step]:
    return list(steps_of(search, toy(search.state.start)))


def positions(found: Sequence[Step]) -> list[int | None]:
    """Return the position that each step was about."""
    return [step.attempts[0].position for step in found]


def grew(step: Step) -> bool:
    return all(attempt.kind == "insert" for attempt in step.attempts)


def current_losses(search: PaperSchedule) -> list[Any]:
    """Return the loss of the current instruction at the start and after each step."""
    start = toy(search.state.start)
    losses = {start[NAME]: search.begin(start).estimate}
    programs = [start]
    for step in steps_of(search, start):
        losses |= {attempt.instruction: attempt.estimate for attempt in step.attempts}
        programs.append(step.current)
    return [losses[program[NAME]] for program in programs]


def test_the_search_finds_the_words_that_lower_the_loss() -> None:
    search = schedule()
    *_, last = steps(search)
    assert last.current[NAME].split()[:3] == ["count", "count", "count"]
    assert search.board.training_mean(last.current) == 1.0


def test_a_worse_candidate_is_never_kept() -> None:
    losses = current_losses(schedule(start="count guess ."))
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1]
    view = FakeView(FakeModel(likely=("guess", "quickly")))
    *_, last = steps(schedule(view, "count items .", shortlist_size=1, top_k=1))
    assert last.current == toy("count items .")
    assert not last.accepted


def test_positions_go_left_to_right_and_wrap_after_a_full_stop() -> None:
    found = steps(schedule(start="read the .", max_steps=7))
    # The full stop itself is replaced in the first pass, from where on the instruction grows.
    assert positions(found)[:3] == [0, 1, 2]
    kept = FakeView(unstable=frozenset({"count", "items", "carefully", "slowly"}))
    found = steps(schedule(kept, "read the .", max_steps=5))
    assert positions(found) == [0, 1, 2, 0, 1]
    assert not any(grew(step) for step in found)


def test_without_a_full_stop_the_instruction_grows_up_to_its_limit() -> None:
    found = steps(schedule(start="read the", max_steps=8, max_instruction_tokens=4))
    assert positions(found) == [0, 1, 2, 3, 0, 1, 2, 3]
    assert [grew(step) for step in found[:4]] == [False, False, True, True]
    assert len(found[-1].current[NAME].split()) == 4


def test_one_backward_pass_serves_all_positions_until_the_instruction_changes() -> None:
    view = FakeView(unstable=frozenset({"count", "items", "carefully"}))
    steps(schedule(view, max_steps=6))
    assert view.model.backward_items == view.size


def test_no_instruction_is_generated_twice() -> None:
    search = schedule()
    steps(search)
    runner = search.board.runner
    assert isinstance(runner, FakeRunner)
    assert len(runner.ran) == len(set(runner.ran)) > 6


def test_a_position_visited_again_gets_new_candidates() -> None:
    view = FakeView(unstable=frozenset({"count", "items", "carefully"}))
    found = steps(schedule(view, max_steps=8, shortlist_size=2))
    assert not any(step.accepted for step in found)
    texts = [attempt.instruction for step in found for attempt in step.attempts]
    assert len(texts) == len(set(texts)) == 8 * 2


def test_edits_that_do_not_survive_are_passed_over() -> None:
    for step in steps(schedule(FakeView(unstable=frozenset({"count"})))):
        assert all("count" not in attempt.instruction for attempt in step.attempts)
        assert len(step.attempts) == 3


def test_the_same_seed_gives_the_same_steps() -> None:
    def run(seed: int) -> list[Program]:
        return [step.current for step in steps(schedule(seed=seed, top_k=3, shortlist_size=1))]

    assert run(3) == run(3)


def test_examples_with_nan_losses_are_skipped_and_counted() -> None:
    view = FakeView(FakeModel(nan_examples=frozenset({1, 4})))
    search = schedule(view, max_steps=1, shortlist_size=1)
    start = search.begin(toy("read the answer ."))
    assert search.state.skipped == 2
    assert start.estimate is not None
    assert math.isfinite(start.estimate)
    (step,) = steps(search)
    assert math.isfinite(float(step.status.removeprefix("loss ")))
    assert search.state.skipped == 3 * 2  # the start, its gradient and one candidate


def test_nothing_but_nan_is_an_error_that_says_what_to_do() -> None:
    view = FakeView(FakeModel(nan_examples=frozenset(range(6))))
    with pytest.raises(LossError, match="float32"):
        steps(schedule(view))


def test_it_ends_where_nothing_is_left_to_gain() -> None:
    search = schedule(start="count items .", perfect_score=1.0)
    assert steps(search) == []
    assert search.state.stopped == "nothing left to gain"
    search = schedule(perfect_score=1.0)
    found = steps(search)
    assert 0 < len(found) < 6
    assert search.state.stopped == "a perfect score"


def test_it_goes_on_where_validation_examples_are_not_all_right() -> None:
    search = schedule(start="count items .", perfect_score=1.0)
    start = toy(search.state.start)
    search.board.scores.validation[start] = [1.0, 0.0]
    assert search.step(start) is not None
    search.board.scores.validation[start] = [1.0, 1.0]
    assert search.step(start) is None


def test_its_state_is_plain_data() -> None:
    search = schedule()
    for before, after in pairwise(steps_of(search, toy("read the answer ."))):
        assert before.number + 1 == after.number
        state = search.state
        assert PaperState(**json.loads(json.dumps(asdict(state)))) == state


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
def test_senseless_knobs_are_refused(knob: str, value: Any) -> None:
    with pytest.raises(ValueError, match=knob):
        PaperConfig(**{knob: value})
