"""The race of whole programs, before their predictors are searched one by one."""

from __future__ import annotations

from typing import Any

import pytest

from dspy_greater.program import Run
from dspy_greater.search import Program, VerifiedConfig
from dspy_greater.search.verified import JointRace
from tests.support.fakes import NAME, OTHER, FakeModel, FakeRunner, FakeView, board_of, run_of, toy

START = toy("read", other="the")
RIGHT = toy("count", other="items")


class Both(FakeRunner):
    """A program is right where the one predictor counts and the other one knows what."""

    def one(self, program: Program, example: int) -> Run:
        return run_of(example, float("count" in program[NAME] and "items" in program[OTHER]))


def race_of(
    runner: FakeRunner | None = None, perfect_score: float | None = None, **knobs: Any
) -> JointRace:
    runner = runner or Both(24)
    model = FakeModel(likely=("count", "items"))
    views = {name: FakeView(model, runner.size, name=name) for name in START}
    config = VerifiedConfig(**{"library": False, "examples": 0, "asked": 0, "starts": 4, **knobs})
    found = config.joint_race(views, START, board_of(runner, perfect_score), "seed")
    assert found is not None
    found.begin()
    return found


def test_each_program_has_another_instruction_in_every_predictor() -> None:
    race = race_of(instructions=("count", "guess", "items", "quickly"))
    names = list(START)
    programs = race.programs(names)
    assert 4 < len(programs) <= race.config.whole_instructions == 8
    assert programs[:2] == [toy("count", other="count"), toy("guess", other="guess")]
    assert all(program[name] != START[name] for program in programs for name in START)
    race.board.affordable = lambda: 48  # two programs on all examples, or three on sixteen
    assert race.programs(names) == programs[:3]
    race.board.affordable = lambda: 15
    assert race.programs(names) == []


def test_a_program_wins_whose_predictors_are_right_only_together() -> None:
    race = race_of()
    alone = [START.replaced(name, RIGHT[name]) for name in START]
    assert race.winner(alone) is None
    assert race.winner([*alone, RIGHT]) == RIGHT


def test_those_of_a_library_are_of_one_family() -> None:
    class Free(FakeView):
        def tokens(self, instruction: str) -> tuple[int, ...]:
            return (0,)

        def instruction(self, text: str) -> str:
            return text

    views = {name: Free(size=24, name=name) for name in START}
    race = JointRace(START, board_of(Both(24)), "seed", views, VerifiedConfig(examples=0, starts=0))
    race.begin()
    programs = race.programs(list(views))
    assert len(programs) == len(
        {text.removeprefix("read.") for (_, text), _ in (p.parts for p in programs)}
    )
    for program in programs:
        assert program[NAME].replace("read", "the") == program[OTHER]


def test_the_current_program_is_run_once() -> None:
    race = race_of()
    race.winner(race.programs(list(START)))
    runner = race.board.runner
    assert isinstance(runner, Both)
    assert len(runner.runs) == len(set(runner.runs))
    assert sum(program == START for program, _ in runner.runs) == 24


@pytest.mark.parametrize(("perfect_score", "hopeful"), [(None, True), (0.5, True), (1.0, True)])
def test_there_is_hope_where_something_is_left(perfect_score: float | None, hopeful: bool) -> None:
    assert race_of(perfect_score=perfect_score).hopeful() == hopeful


def test_there_is_none_where_nothing_is_left() -> None:
    class Right(FakeRunner):
        def one(self, program: Program, example: int) -> Run:
            return run_of(example, 1.0)

    assert not race_of(Right(24), perfect_score=1.0).hopeful()


def test_there_is_no_race_where_no_instruction_is_written() -> None:
    views = {NAME: FakeView()}
    config = VerifiedConfig(starts=0, asked=0, library=False, examples=0)
    assert config.joint_race(views, START, board_of(Both()), "seed") is None
