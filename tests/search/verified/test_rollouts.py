"""What is known of the current program before others race it."""

from __future__ import annotations

from dspy_greater.search.verified.rollouts import greedy, solved
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


def test_the_first_examples_that_a_run_got_right_are_shown() -> None:
    board, view = board_of(FakeRunner(24)), FakeView(size=24)
    runs = greedy(board, view, toy("count items"), range(24))
    right = [index for index, run in zip(runs.examples, runs.runs, strict=True) if run.score]
    assert 0 < len(right) < 24
    assert solved(view, runs, 2) == view.contexts(right[:2])
    assert solved(view, greedy(board, view, toy("guess"), range(24)), 2) == []
