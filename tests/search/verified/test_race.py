"""The race: everybody on the same examples, losers out early."""

from __future__ import annotations

from dspy_greater.search import Program
from dspy_greater.search.verified.race import Race, next_stop
from tests.support.fakes import NAME, FakeRunner, FakeView, board_of, toy

START = toy("read the")


def race_of(runner: FakeRunner) -> Race:
    views = {NAME: FakeView(size=runner.size)}
    return Race(board_of(runner), views, range(runner.size), multiple=2.0)


def reached(text: str, current: str) -> list[Program]:
    return race_of(FakeRunner(40)).run([toy(text)], toy(current))


def test_the_better_come_first_and_the_worse_drop_out() -> None:
    race = race_of(FakeRunner(40))
    good, half, bad = toy("count items"), toy("count the"), toy("guess")
    assert race.run([bad, half, good], START)[0] == good
    known = race.board.scores.training
    assert len(known[good]) == 40
    assert len(known[bad]) < 40


def test_nothing_is_run_twice() -> None:
    runner = FakeRunner(10)
    race, good = race_of(runner), toy("count items")
    race.run([good, good], START)
    assert len(runner.runs) == len(set(runner.runs)) == 20
    before = list(runner.runs)
    race.run([good], START)
    assert runner.runs == before
    assert len(race.board.scores.training[good]) == 10


def test_a_program_clearly_behind_the_current_one_does_not_reach_the_end() -> None:
    assert reached("guess", "count items") == []


def test_an_equal_program_reaches_the_end() -> None:
    assert reached("items count", "count items") == [toy("items count")]


def test_a_winner_is_proven_on_training_and_no_worse_on_validation_examples() -> None:
    class Unheard(FakeRunner):
        def validate(self, program: Program) -> list[float]:
            return [float(program == START)] * 10

    good = toy("count items")
    for runner, winner in ((FakeRunner(24), good), (Unheard(24), None)):
        race = race_of(runner)
        assert race.accepted(race.run([good], START), START, noise=0.0) == winner
    race = race_of(FakeRunner(24))
    ended = race.run([good], START)
    assert race.proven(good, START, noise=0.0)
    assert race.accepted(ended, START, noise=1.0) is None  # a gain within the noise is none


def test_among_equals_the_best_reader_wins() -> None:
    race = race_of(FakeRunner(24))
    long, short = toy("count items the the the"), toy("count items")
    assert race.accepted(race.run([long, short], START), START, noise=0.0) == short


def test_a_block_has_enough_runs_to_be_worth_a_batch() -> None:
    def stops(racing: int, total: int) -> list[int]:
        passed = [0]
        while passed[-1] < total:
            passed.append(next_stop(passed[-1], racing, total))
        return passed[1:]

    assert stops(4, 50) == [8, 16, 32, 50]
    assert stops(1, 50) == [16, 32, 50]
    assert stops(1, 12) == [12]
