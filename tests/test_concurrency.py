"""Threads and event loops around a compiled program and around a compile."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import dspy
import pytest
from dspy.utils import parallelizer

from dspy_greater import local_lm
from dspy_greater.lm import white_box
from dspy_greater.program.runs import run_programs
from examples.published_schedule import PaperConfig
from tests.support.compiling import (
    START,
    configured,
    examples,
    lm,
    metric,
    readable,
    small,
    student,
)
from tests.support.composing import TASK, better_letters, letters, small_lm
from tests.support.tiny import make_model, make_tokenizer

__all__ = ["configured", "lm", "readable", "student"]


@pytest.fixture(scope="module")
def alone() -> list[str]:
    """The compiled program's answers, one question at a time."""
    with dspy.context(lm=small_lm()):
        return [better_letters()(question=each.question).answer for each in letters("test", 16)]


@pytest.mark.slow
@pytest.mark.parametrize("num_threads", [1, 2, 8, 64])
def test_evaluate_gives_the_same_scores_on_any_number_of_threads(
    num_threads: int, alone: list[str]
) -> None:
    evaluate = dspy.Evaluate(
        devset=letters("test", 16), metric=TASK.metric, num_threads=num_threads
    )
    with dspy.context(lm=small_lm()):
        result = evaluate(better_letters())
    assert [prediction.answer for _, prediction, _ in result.results] == alone
    right = [answer == each.answer for answer, each in zip(alone, letters("test", 16), strict=True)]
    assert result.score == round(100 * sum(right) / 16, 2) > 50


@pytest.mark.slow
def test_many_runs_may_be_awaited_at_once(alone: list[str]) -> None:
    async def main() -> list[Any]:
        calls = [better_letters().acall(question=each.question) for each in letters("test", 16)]
        return await asyncio.gather(*calls)

    before = white_box(small_lm()).counts.snapshot()
    with dspy.context(lm=small_lm()):
        predictions = asyncio.run(main())
    assert [prediction.answer for prediction in predictions] == alone
    work = white_box(small_lm()).counts - before
    assert work.rollouts == 16


@pytest.mark.slow
def test_asyncify_runs_a_program_from_an_event_loop(alone: list[str]) -> None:
    async def main() -> list[Any]:
        run = dspy.asyncify(better_letters())
        return await asyncio.gather(*(run(question=each.question) for each in letters("test", 16)))

    with dspy.context(lm=small_lm()):
        predictions = asyncio.run(main())
    assert [prediction.answer for prediction in predictions] == alone


def test_a_compile_may_be_called_inside_an_event_loop(student: dspy.Module) -> None:
    async def main() -> dspy.Module:
        return small(max_steps=1).compile(student, trainset=examples())

    outside = small(max_steps=1).compile(student, trainset=examples()).detailed_results
    inside = asyncio.run(main()).detailed_results
    assert inside.candidates == outside.candidates


def test_a_compile_in_a_thread_leaves_the_event_loop_free(
    student: dspy.Module, lm: dspy.LM
) -> None:
    compiling, looked = threading.Event(), threading.Event()

    def listen(event: Any) -> None:
        compiling.set()
        assert looked.wait(60)  # the step ends only after the loop has done something else

    async def main() -> dspy.Module:
        teleprompter = small(max_steps=1, callback=listen)
        compile_ = asyncio.to_thread(teleprompter.compile, student, trainset=examples())
        task = asyncio.create_task(compile_)
        while not compiling.is_set():
            await asyncio.sleep(0.01)
        assert not task.done()
        assert await lm.acall("What is 2 + 3?")
        looked.set()
        return await task

    assert asyncio.run(main()).detailed_results.counts["tokens_backward"] > 0


@pytest.mark.slow
def test_two_compiles_may_share_one_model(student: dspy.Module, lm: dspy.LM) -> None:
    def compiled(seed: int) -> list[Any]:
        with dspy.context(lm=lm):
            program = small(max_steps=1, seed=seed).compile(student, trainset=examples())
        candidates: list[Any] = program.detailed_results.candidates
        return candidates

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(compiled, [1, 2]))
    assert together == [compiled(1), compiled(2)]


@pytest.fixture(scope="module")
def at_once() -> dspy.LM:
    """A model that answers what there is without waiting for more."""
    tokenizer = make_tokenizer()
    pair = (make_model("llama", len(tokenizer)), tokenizer)
    return local_lm(pair, max_tokens=6, cache=False, batch_wait=0.001)


class Beside:
    """Another thread that keeps asking a model."""

    def __init__(self, lm: dspy.LM) -> None:
        self.lm = lm
        self.answers = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.ask)

    def ask(self) -> None:
        while not self.over.is_set():
            self.lm(f"What is {self.answers} + 3?")
            self.answers += 1

    def __enter__(self) -> Beside:
        self.thread.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.over.set()
        self.thread.join()


def record_of(lm: dspy.LM, **knobs: Any) -> Any:
    # One run at a time: how many of a compile's own runs share a batch is left to chance.
    config = PaperConfig(max_steps=3, shortlist_size=1)
    with dspy.context(lm=lm):
        compiled = small(**{"schedule": config, "num_threads": 1, **knobs}).compile(
            dspy.Predict(dspy.Signature("question -> answer", START)), trainset=examples(4)
        )
    return compiled.detailed_results


def told(record: Any) -> dict[str, Any]:
    """What a compile did and what it cost, but for time and memory."""
    costs = {"seconds", "phases"}
    return {name: value for name, value in record.to_dict().items() if name not in costs}


def test_what_another_thread_asks_of_the_model_is_not_booked_on_a_compile(
    at_once: dspy.LM,
) -> None:
    alone = record_of(at_once)
    before = white_box(at_once).counts.snapshot()
    with Beside(at_once) as beside:
        accompanied = record_of(at_once)
    work = white_box(at_once).counts - before
    assert beside.answers > 10
    assert work.rollouts == accompanied.counts["rollouts"] + beside.answers
    assert accompanied.counts["rollouts"] >= accompanied.total_calls > 0
    assert told(accompanied) == told(alone)


@pytest.mark.usefixtures("readable")
def test_a_bound_on_tokens_ends_a_compile_where_it_does_without_the_other_thread(
    at_once: dspy.LM,
) -> None:
    events: list[Any] = []
    record_of(at_once, callback=lambda event: events.append(event))
    assert len(events) == 3
    bound = events[2].tokens  # what the verdict may cost is kept back, so it ends before
    alone = record_of(at_once, max_tokens=bound)
    with Beside(at_once) as beside:
        accompanied = record_of(at_once, max_tokens=bound)
    assert beside.answers > 10
    (outcome,) = accompanied.outcomes
    assert 0 < outcome.steps < 3
    assert outcome.stopped == f"max_tokens={bound:,} reached"
    assert told(accompanied) == told(alone)


@pytest.mark.slow
def test_two_compiles_of_one_model_are_charged_for_their_own_work(at_once: dspy.LM) -> None:
    def compiled(seed: int) -> dict[str, Any]:
        return told(record_of(at_once, seed=seed))

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(compiled, [1, 2]))
    assert together == [compiled(1), compiled(2)]


class Slow(dspy.Module):
    """Counts its runs; the one on the first question lasts until it is let go."""

    def __init__(self, let_go: threading.Event) -> None:
        super().__init__()
        self.predict = dspy.Predict("question -> answer")
        self.runs: Counter[str] = Counter()
        self.let_go = let_go

    def __deepcopy__(self, memo: dict[int, Any]) -> Slow:
        return self

    def forward(self, question: str) -> dspy.Prediction:
        self.runs[question] += 1
        if question == examples(1)[0].question:
            assert self.let_go.wait(60)
        return dspy.Prediction(answer="3")


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when DSPy's executor has looked five times for what is done, an hour between looks."""
    event, looks, hours = threading.Event(), count(1), count(1)
    wait = parallelizer.wait

    class Clock:
        time = staticmethod(lambda: 3600.0 * next(hours))

    def look(futures: Any, timeout: float, return_when: str) -> Any:
        if next(looks) > 5:
            event.set()
        return wait(futures, timeout=0.02, return_when=return_when)

    monkeypatch.setattr(parallelizer, "time", Clock)
    monkeypatch.setattr(parallelizer, "wait", look)
    return event


def test_dspy_runs_slow_examples_twice_by_default(let_go: threading.Event) -> None:
    """What the next test guards against: it cannot pass for another reason."""
    program = Slow(let_go)
    parallel = dspy.Parallel(num_threads=8, disable_progress_bar=True)
    parallel([(program, example) for example in examples(3)])
    assert sorted(program.runs.values())[:2] == [1, 1]
    assert max(program.runs.values()) > 1


def test_a_compile_runs_no_slow_example_twice(let_go: threading.Event) -> None:
    program = Slow(let_go)
    (runs,) = run_programs([program], [examples(3)], metric, num_threads=8)
    assert [run.score for run in runs] == [1.0, 0.0, 0.0]
    assert set(program.runs.values()) == {1}
    assert let_go.is_set()
