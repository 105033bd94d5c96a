"""The race: everybody on the same examples, losers out early."""

from __future__ import annotations

from dspy_greater.search.verified.race import LEAST_LIMIT, ScoreBook, limit_of, next_stop, race
from tests.support.fakes import FakeView


def book(examples: int = 40) -> ScoreBook:
    return ScoreBook(FakeView(examples=examples), list(range(examples)))


def test_the_better_come_first_and_the_worse_drop_out() -> None:
    scores = book()
    good, half, bad = "count items", "count the", "guess"
    assert race(scores, [bad, half, good], "read the")[0] == good
    assert len(scores.scores[good]) == 40
    assert len(scores.scores[bad]) < 40


def test_nothing_is_run_twice() -> None:
    scores = book(examples=10)
    race(scores, ["count items", "count items"], "read the")
    calls = list(scores.subject.roll_outs)  # type: ignore[attr-defined]
    race(scores, ["count items"], "read the")
    assert scores.subject.roll_outs == calls  # type: ignore[attr-defined]
    assert len(scores.scores["count items"]) == 10


def test_a_candidate_clearly_behind_the_incumbent_does_not_reach_the_end() -> None:
    assert race(book(), ["guess"], "count items") == []


def test_an_equal_candidate_reaches_the_end() -> None:
    assert race(book(), ["items count"], "count items") == ["items count"]


def test_the_incumbents_runs_are_there_after_its_race() -> None:
    scores = book(examples=10)
    race(scores, ["count items"], "read the")
    calls = list(scores.subject.roll_outs)  # type: ignore[attr-defined]
    rollouts = scores.rollouts("count items")
    assert rollouts.rewards == tuple(scores.scores["count items"])
    assert rollouts.rewards == tuple(run.score for run in rollouts.runs)
    assert scores.subject.roll_outs == calls  # type: ignore[attr-defined]


def test_a_block_has_enough_runs_to_be_worth_a_batch() -> None:
    def stops(racing: int, total: int) -> list[int]:
        passed = [0]
        while passed[-1] < total:
            passed.append(next_stop(passed[-1], racing, total))
        return passed[1:]

    assert stops(4, 50) == [8, 16, 32, 50]
    assert stops(1, 50) == [16, 32, 50]
    assert stops(1, 12) == [12]


def test_answers_may_be_so_much_longer_than_the_incumbents() -> None:
    assert limit_of(1000) == 1000
    assert limit_of(7) == LEAST_LIMIT
    assert limit_of(0) is None  # nothing could be read
    scores = book(examples=10)
    scores.fill(["read the"], 10)
    scores.limit = 300
    race(scores, ["count items"], "read the")
    assert scores.subject.limits == [None, 300]  # type: ignore[attr-defined]
