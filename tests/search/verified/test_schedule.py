"""The verified search on a toy world in which it is known what helps."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from dspy_greater.program import Run
from dspy_greater.search import Judge, VerifiedConfig, VerifiedSchedule, choose
from dspy_greater.search.verified.schedule import SENTENCE, WORD, without_a_part
from tests.search.fakes import FakeModel, FakeSubject

START = "read the answer"


def schedule(
    subject: FakeSubject, judge: Judge | None = None, seed: str = "0", **knobs: Any
) -> VerifiedSchedule:
    config = VerifiedConfig(**{"max_steps": 5, "fluency_weight": 0.0, "starts": 2, **knobs})
    judge = judge or Judge(lambda text: [r.score for r in subject.roll_out([text])[0]])
    return VerifiedSchedule(subject, config, seed, judge, START, subject.examples)


def final(search: VerifiedSchedule) -> str:
    *_, last = search.steps()
    return last.held


def test_it_finds_the_words_that_help() -> None:
    subject = FakeSubject(examples=24)
    search = schedule(subject)
    held = final(search)
    assert search.book.mean(held) > search.book.mean(START)
    assert "guess" not in held


@pytest.mark.parametrize("shortlist", ["exact", "gradient", "lm", "random"])
def test_every_shortlist_runs_and_never_ends_below_the_start(shortlist: str) -> None:
    search = schedule(FakeSubject(examples=16), shortlist=shortlist)
    held = final(search)
    assert search.book.mean(held) >= search.book.mean(START)


@pytest.mark.parametrize("shortlist", ["exact", "gradient"])
def test_the_gradient_puts_the_best_word_first(shortlist: str) -> None:
    subject = FakeSubject(examples=24)
    first = next(iter(schedule(subject, shortlist=shortlist, starts=0, phrases=0).steps()))
    assert "count" in first.attempts[0].instruction


def test_an_edit_that_fails_on_the_validation_examples_is_not_accepted() -> None:
    judge = Judge(lambda text: [float(text == START)] * 10)
    search = schedule(FakeSubject(examples=24), judge)
    assert final(search) == START
    assert search.stopped.startswith("no edit accepted")


def test_the_start_comes_back_at_once_where_nothing_is_left_to_gain() -> None:
    subject = FakeSubject()
    judge = Judge(lambda text: [1.0], perfect_score=1.0)
    search = VerifiedSchedule(subject, VerifiedConfig(), "0", judge, "count items", 6)
    assert list(search.steps()) == []
    assert search.stopped == "nothing left to gain"


def test_where_every_rollout_fails_the_answers_gradient_still_leads() -> None:
    class Hopeless(FakeSubject):
        def sample(self, *arguments: Any) -> list[list[Run]]:
            return [
                [Run(0.0, None, calls=run.calls) for run in runs]
                for runs in super().sample(*arguments)
            ]

    subject = Hopeless(examples=24)
    search = schedule(subject, starts=0, phrases=0)
    assert search.book.mean(final(search)) > search.book.mean(START)


def test_the_same_seed_gives_the_same_search() -> None:
    def run(seed: str) -> list[tuple[str, ...]]:
        search = schedule(FakeSubject(examples=12), seed=seed)
        return [tuple(a.instruction for a in step.attempts) for step in search.steps()]

    assert run("1") == run("1")
    assert run("1") != run("2")


def test_words_that_do_no_work_are_taken_away() -> None:
    subject = FakeSubject(FakeModel(likely=("count", "items")), examples=12)
    search = schedule(subject, fluency_weight=0.1, tidy_rounds=9)
    search.book.fill([START], 12)
    search.judge.score(START)
    search.state.held = "count the items slowly carefully"
    search.book.fill([search.state.held], 12)
    while search._tidy():
        pass
    assert search.state.held == "count items carefully"


def test_parts_of_a_text() -> None:
    assert without_a_part("Go on. Stop!", WORD) == ["On. Stop!", "Go Stop!", "Go on."]
    assert without_a_part("Go on. Stop! Now", SENTENCE) == [
        "Stop! Now",
        "Go on. Now",
        "Go on. Stop!",
    ]
    assert without_a_part("word", WORD) == []


@dataclass
class CoinSubject(FakeSubject):
    """Every prompt's score is a coin, flipped once and for all."""

    luck: int = 0
    scored: dict[tuple[str, int], float] = field(default_factory=dict)

    def flip(self, text: str, example: int) -> float:
        return float(random.Random(f"{self.luck} {text} {example}").random() < 0.5)

    def roll_out(self, instructions: Any, examples: Any = None) -> list[list[Run]]:
        return [
            [Run(self.flip(text, example), None) for example in self._indices(examples)]
            for text in instructions
        ]


def test_pure_noise_keeps_the_start_in_95_of_100_runs() -> None:
    changed = 0
    for luck in range(200):
        subject = CoinSubject(examples=32, luck=luck)
        judge = Judge(lambda text, s=subject: [s.flip(text, 1000 + i) for i in range(32)])
        list(schedule(subject, judge, seed=str(luck), max_steps=4, exact_size=8).steps())
        changed += choose(judge.validated, START, 0.95).instruction != START
    assert changed <= 10
