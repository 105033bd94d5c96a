"""What is known of the current program before others race it."""

from __future__ import annotations

from dspy_greater.search.verified.rollouts import greedy
from tests.support.fakes import FakeRunner, FakeView, board_of, toy

PROGRAM = toy("count the items")


def test_greedy_runs_are_those_of_the_race_and_are_not_made_again() -> None:
    runner = FakeRunner(8)
    board = board_of(runner)
    board.train([PROGRAM], range(8))
    found = greedy(board, FakeView(size=8), PROGRAM, [3, 1])
    assert (found.instruction, found.examples) == ("count the items", (3, 1))
    assert list(found.runs) == board.runs(PROGRAM, [3, 1])
    assert runner.ran == [PROGRAM]


def test_greedy_runs_are_made_again_where_only_their_scores_are_known() -> None:
    runner = FakeRunner(8)
    board = board_of(runner)
    board.scores.training[PROGRAM] = dict.fromkeys(range(8), 1.0)
    assert len(greedy(board, FakeView(size=8), PROGRAM, range(8)).runs) == 8
    assert runner.ran == [PROGRAM]
