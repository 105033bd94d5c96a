"""The verified search on a toy world in which it is known what helps."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dspy_greater.program import PredictorCall, Run
from dspy_greater.search import Judge, VerifiedConfig, VerifiedSchedule, choose
from dspy_greater.search.verified import shortlist
from dspy_greater.search.verified.estimates import exact
from dspy_greater.search.verified.tidy import SENTENCE, WORD, without_a_part
from tests.support.fakes import FakeModel, FakeView, run_of

START = "read the answer"


def schedule(
    subject: FakeView, judge: Judge | None = None, seed: str = "0", **knobs: Any
) -> VerifiedSchedule:
    config = VerifiedConfig(**{"max_steps": 6, "fluency_weight": 0.0, "starts": 2, **knobs})
    judge = judge or Judge(lambda text: [r.score for r in subject.roll_out([text])[0]])
    return VerifiedSchedule(subject, config, seed, judge, START, subject.examples)


def final(search: VerifiedSchedule) -> str:
    *_, last = search.steps()
    return last.held


def test_it_finds_the_words_that_help() -> None:
    subject = FakeView(examples=24)
    search = schedule(subject, starts=0)
    held = final(search)
    assert search.book.mean(held) > search.book.mean(START)
    assert "guess" not in held


def test_whole_instructions_race_first_and_cost_no_patience() -> None:
    subject = FakeView(examples=24)
    search = schedule(subject, starts=4, instructions=("guess guess", "guess quickly"), patience=1)
    first, second, *_ = search.steps()
    assert {attempt.kind for attempt in first.attempts} == {"start"}
    assert {"guess guess", "guess quickly"} <= {attempt.instruction for attempt in first.attempts}
    assert all(attempt.estimate is None for attempt in first.attempts)
    assert second.attempts
    assert all(attempt.kind != "start" for attempt in second.attempts)


def test_it_never_ends_below_the_start() -> None:
    search = schedule(FakeView(examples=16))
    held = final(search)
    assert search.book.mean(held) >= search.book.mean(START)


def test_the_best_word_comes_first() -> None:
    subject = FakeView(examples=24)
    first = next(iter(schedule(subject, starts=0, phrases=0).steps()))
    assert "count" in first.attempts[0].instruction


def test_fewer_edits_are_recomputed_on_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[int, int]] = []

    def listen(model: Any, terms: Any, tokens: Any) -> list[float]:
        if len(tokens) > 1:  # besides the incumbent
            looks.append((len(terms), len(tokens) - 1))
        return exact(model, terms, tokens)

    monkeypatch.setattr(shortlist, "exact", listen)
    search = schedule(FakeView(examples=24), starts=0, exact_size=24, race_size=2)
    first = next(iter(search.steps()))
    (_, everything), *looks = looks[:4]
    whole = len(search.evidence.terms(START))
    assert [edits for _, edits in looks] == [everything, everything // 2, everything // 4]
    assert whole / 4 <= looks[0][0] < looks[2][0]
    assert sum(terms for terms, _ in looks) == whole
    assert len(first.attempts) <= 2


def test_the_gradient_chooses_among_what_the_model_finds_likely() -> None:
    subject = FakeView(examples=24, model=FakeModel(likely=("slowly", "items")))
    search = schedule(subject, plausible=2, starts=0, phrases=0)
    first = next(iter(search.steps()))
    words = {word for attempt in first.attempts for word in attempt.instruction.split()}
    assert words - set(START.split()) <= {"slowly", "items"}
    assert first.attempts


def test_an_edit_that_fails_on_the_validation_examples_is_not_accepted() -> None:
    judge = Judge(lambda text: [float(text == START)] * 10)
    search = schedule(FakeView(examples=24), judge)
    assert final(search) == START
    assert search.stopped.startswith("no edit accepted")


def test_the_start_comes_back_at_once_where_nothing_is_left_to_gain() -> None:
    subject = FakeView()
    judge = Judge(lambda text: [1.0], perfect_score=1.0)
    search = VerifiedSchedule(subject, VerifiedConfig(), "0", judge, "count items", 6)
    assert list(search.steps()) == []
    assert search.stopped == "nothing left to gain"


def test_the_search_ends_where_no_edit_could_be_proven_better() -> None:
    class Nearly(FakeView):
        def _run(self, ids: list[int], example: int) -> Run:
            return run_of(example, float(example > 0))

    search = schedule(Nearly(examples=24))
    assert list(search.steps()) == []
    assert search.stopped == "no edit could be proven better on 24 training examples"
    *_, last = schedule(Nearly(examples=24), multiple=0.0).steps()
    assert last.number > 0


def test_where_every_rollout_fails_the_answers_gradient_still_leads() -> None:
    class Hopeless(FakeView):
        def sample(self, *arguments: Any) -> list[list[Run]]:
            return [
                [Run(0.0, None, calls=run.calls) for run in runs]
                for runs in super().sample(*arguments)
            ]

    subject = Hopeless(examples=24)
    search = schedule(subject, starts=0, phrases=0)
    assert search.book.mean(final(search)) > search.book.mean(START)
    assert search.stood_in > 0


def test_an_instruction_beyond_the_limit_is_edited_but_does_not_grow() -> None:
    search = schedule(FakeView(examples=24), max_instruction_tokens=2)
    assert final(search) != START
    assert all(len(text.split()) <= 3 for text in search.state.scores)


def test_no_edit_leaves_the_models_context() -> None:
    model = FakeModel(context=7)  # two tokens before the instruction, one after it
    search = schedule(FakeView(model, examples=24), race_size=8)
    list(search.steps())
    assert max(len(text.split()) for text in search.state.scores) == 4


def test_the_users_own_instructions_race_too() -> None:
    search = schedule(FakeView(examples=24), instructions=("count items carefully",), max_steps=1)
    (step,) = [step for step in search.steps() if step.number == 1]
    positions = {attempt.instruction: attempt.position for attempt in step.attempts}
    assert positions["count items carefully"] is None


@pytest.mark.parametrize(
    "knobs",
    [
        {"rollouts": 1},
        {"multiple": -1},
        {"sampling_temperature": 0},
        {"instructions": "Think."},
        {"instructions": ("",)},
        {"patience": 0},
        {"plausible": 0},
        {"exact_size": 2.5},
    ],
)
def test_senseless_settings_are_refused(knobs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(knobs))):
        VerifiedConfig(**knobs)


def test_no_more_runs_than_announced() -> None:
    subject = FakeView(examples=24)
    calls = {"train": 0, "validation": 0}

    class Counted(FakeView):
        def _run(self, ids: list[int], example: int) -> Run:
            calls["train"] += 1
            return super()._run(ids, example)

        def sample(self, *arguments: Any) -> list[list[Run]]:
            sampled = super().sample(*arguments)
            calls["train"] += sum(len(runs) for runs in sampled)
            return sampled

    def validate(text: str) -> list[float]:
        calls["validation"] += 10
        return [r.score for r in subject.roll_out([text])[0]][:10]

    search = schedule(Counted(examples=24), Judge(validate), fluency_weight=0.02)
    list(search.steps())
    assert calls["train"] + calls["validation"] <= search.config.most_runs(24, 10)


def test_the_same_seed_gives_the_same_search() -> None:
    def run(seed: str) -> list[tuple[str, ...]]:
        search = schedule(FakeView(examples=12), seed=seed)
        return [tuple(a.instruction for a in step.attempts) for step in search.steps()]

    assert run("1") == run("1")
    assert run("1") != run("2")


def test_words_that_do_no_work_are_taken_away() -> None:
    subject = FakeView(FakeModel(likely=("count", "items")), examples=12)
    search = schedule(subject, fluency_weight=0.1, tidy_rounds=9)
    search.book.fill([START], 12)
    search.judge.score(START)
    search.state.held = "count the items slowly carefully"
    search.book.fill([search.state.held], 12)
    while search._tidy():
        pass
    assert search.state.held == "count items carefully"


def test_of_the_shorter_versions_no_more_are_run_than_it_takes_to_find_one_that_holds() -> None:
    subject = FakeView(FakeModel(likely=("count", "items")), examples=12)
    search = schedule(subject, fluency_weight=0.1, tidy_rounds=9)
    search.judge.score(START)
    search.state.held = "count the items slowly carefully"
    search.book.fill([search.state.held], 12)
    before = set(search.state.scores)
    step = search._tidy()
    assert step is not None
    tried = [attempt.instruction for attempt in step.attempts]
    assert set(search.state.scores) - before == set(tried)
    assert tried[-1] == step.held
    # Each that was run before read better, and lost.
    assert all(search.book.mean(text) < search.book.mean(step.held) for text in tried[:-1])


def test_parts_of_a_text() -> None:
    assert without_a_part("Go on. Stop!", WORD) == ["On. Stop!", "Go Stop!", "Go on."]
    assert without_a_part("Go on. Stop! Now", SENTENCE) == [
        "Stop! Now",
        "Go on. Now",
        "Go on. Stop!",
    ]
    assert without_a_part("word", WORD) == []


@dataclass
class CoinSubject(FakeView):
    """Every prompt's score is a coin, flipped once and for all."""

    luck: int = 0
    scored: dict[tuple[str, int], float] = field(default_factory=dict)

    def flip(self, text: str, example: int) -> float:
        return float(random.Random(f"{self.luck} {text} {example}").random() < 0.5)

    def roll_out(
        self, instructions: Any, examples: Any = None, limit: Any = None
    ) -> list[list[Run]]:
        return [
            [run_of(example, self.flip(text, example)) for example in self._indices(examples)]
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


@dataclass
class Wordy(FakeView):
    """Writes a text as long as its instruction is, a hundred times over."""

    def roll_out(self, instructions: Any, examples: Any = None, limit: Any = None) -> Any:
        ran = super().roll_out(instructions, examples, limit)
        return [
            [
                replace(run, calls={**run.calls, "p": [PredictorCall({}, {"t": 100 * text})]})
                for run in runs
            ]
            for text, runs in zip(instructions, ran, strict=True)
        ]


def test_answers_in_races_are_limited_by_the_longest_of_an_incumbent() -> None:
    subject, unheard = Wordy(examples=24), FakeView(examples=24)
    judge = Judge(lambda text: [run.score for run in unheard.roll_out([text])[0]])
    search = schedule(subject, judge)
    held = [START, *(step.held for step in search.steps())]
    start, once_more, *raced = subject.limits
    assert (start, once_more) == (None, None)
    assert raced[0] == 100 * len(START)
    assert raced == sorted(raced)
    assert set(raced) <= {100 * len(text) for text in held}
    assert search.book.limit == 100 * max(map(len, held)) > raced[0]

    again = schedule(Wordy(examples=24), judge)
    again.load(search.dump())
    again.begin()
    assert again.book.limit == search.book.limit
    again.forget()
    assert again.book.limit is None
