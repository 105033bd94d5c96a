"""The race: everybody on the same examples, the better third goes on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.program import Run
from dspy_greater.search import Program
from dspy_greater.search.verified.race import Race, most_raced, next_stop
from tests.support.fakes import NAME, FakeRunner, board_of, run_of, toy

START = toy("read the")


def race_of(runner: FakeRunner) -> Race:
    return Race(board_of(runner), range(runner.size))


def test_the_better_come_first_and_the_worse_drop_out() -> None:
    race = race_of(FakeRunner(40))
    good, half, bad = toy("count items"), toy("count the"), [toy("guess the"), toy("guess guess")]
    assert race.run([*bad, half, good], START)[0] == good
    known = race.board.scores.training
    assert sorted(len(known[program]) for program in (good, half, *bad)) == [8, 40, 40, 40]


def test_nothing_is_run_twice() -> None:
    runner = FakeRunner(10)
    race, good = race_of(runner), toy("count items")
    race.run([good, good], START)
    assert len(runner.runs) == len(set(runner.runs)) == 20
    before = list(runner.runs)
    race.run([good], START)
    assert runner.runs == before
    assert len(race.board.scores.training[good]) == 10


def test_a_third_of_the_field_goes_on_and_three_at_least() -> None:
    race = race_of(FakeRunner(50))
    field = [toy(" ".join(["the"] * length)) for length in range(1, 28)]
    race.run(field, START)
    reached = sorted(len(known) for p, known in race.board.scores.training.items() if p != START)
    assert reached == [8] * 18 + [16] * 6 + [50] * 3


def test_the_best_wins_if_it_beats_the_current_program() -> None:
    race, good = race_of(FakeRunner(24)), toy("count items")
    assert race.winner(race.run([toy("guess"), good], START), START) == good
    assert race.winner(race.run([toy("items count")], good), good) is None
    assert race.winner([], START) is None


def test_among_equals_the_first_wins() -> None:
    race = race_of(FakeRunner(24))
    long, short = toy("count items the the the"), toy("count items")
    assert race.run([long, short], START) == [long, short]
    assert race.run([short, long], START) == [short, long]


@given(st.integers(0, 60), st.integers(1, 80))
def test_a_race_is_never_longer_than_announced(count: int, total: int) -> None:
    class Free(FakeRunner):
        def one(self, program: Program, example: int) -> Run:
            return run_of(example, 0.0)

    runner = Free(total)
    field = [Program.of({NAME: str(index)}) for index in range(count)]
    race_of(runner).run(field, START)
    assert sum(program != START for program, _ in runner.runs) == most_raced(count, total)


@given(st.integers(0, 30), st.integers(1, 80), st.integers(0, 500))
def test_a_race_is_as_long_and_its_field_as_large_as_bounds_pay_for(
    count: int, total: int, runs: int
) -> None:
    race = race_of(FakeRunner(total))
    race.board.affordable = lambda: runs
    fitted, fit = race.fitted(count)
    length = len(fitted.order)
    assert most_raced(fit, length) <= runs
    assert all(most_raced(count, each) > runs for each in range(length + 1, total + 1))
    if fit < count:
        assert length == min(16, total)
        assert most_raced(fit + 1, length) > runs


def test_rather_than_fewer_programs_a_race_has_fewer_examples() -> None:
    race = race_of(FakeRunner(50))
    race.board.affordable = lambda: 9 * 8 + 3 * 8
    fitted, fit = race.fitted(9)
    assert (len(fitted.order), fit) == (16, 9)
    field = [toy("count items"), *(toy(" ".join(["the"] * n)) for n in range(1, 9))]
    assert fitted.winner(fitted.run(field, START), START) == field[0]
    assert len(race.board.scores.training[field[0]]) == 16


def test_a_race_ends_sooner_where_its_runs_turn_out_dearer() -> None:
    race, good = race_of(FakeRunner(50)), toy("count items")
    left = iter([1000, 3 * 10])  # what is paid for before the race, and after its first block
    race.board.affordable = lambda: next(left)
    fitted, fit = race.fitted(9)
    assert (len(fitted.order), fit) == (50, 9)
    field = [good, *(toy(" ".join(["the"] * n)) for n in range(1, 9))]
    assert fitted.run(field, START)[0] == good
    reached = sorted(len(fitted.board.scores.training[program]) for program in field)
    assert reached == [8] * 6 + [18] * 3
    assert [len(race.board.scores.training[p]) for p in race.board.scores.finalists] == [18] * 3
    # Where nothing is left at all, it ends with the block, and still has a winner.
    race = race_of(FakeRunner(50))
    race.board.affordable = lambda: 0
    assert race.winner(race.run(field, START), START) == good
    assert len(race.board.scores.training[good]) == 8


def test_a_block_has_enough_runs_to_be_worth_a_batch() -> None:
    def stops(racing: int, total: int) -> list[int]:
        passed = [0]
        while passed[-1] < total:
            passed.append(next_stop(passed[-1], racing, total))
        return passed[1:]

    assert stops(4, 50) == [8, 16, 32, 50]
    assert stops(3, 50) == [50]  # nobody would drop out before
    assert stops(4, 12) == [8, 12]


def test_nobody_races_on_an_example_that_it_shows() -> None:
    race, shower, other = race_of(FakeRunner(40)), toy("count items"), toy("count carefully")
    race.board.shown = lambda program: {0, 5, 39} if program == shower else ()
    fillers = [toy("guess the"), toy("guess guess")]
    assert race.run([*fillers, other, shower], START)[0] == shower
    known = race.board.scores.training
    assert known[shower].keys() == set(range(40)) - {0, 5, 39}
    assert known[other].keys() == known[START].keys() == set(range(40))
    assert set(race.board.scores.finalists) >= {shower, other}
