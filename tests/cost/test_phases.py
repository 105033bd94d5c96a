"""Seconds by phase."""

from __future__ import annotations

import threading
import time

import pytest

from dspy_greater.cost.phases import ANY, PHASES, Phases

STEP = 10.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_phases_add_up(clock: list[float]) -> None:
    phases = Phases({})
    for _ in range(2):
        with phases("score"):
            clock[0] += STEP
        clock[0] += STEP
    assert phases.seconds == {**dict.fromkeys(PHASES, 0.0), "score": 2 * STEP, ANY: 2 * STEP}


def test_a_second_counts_once_however_many_threads_are_in_a_phase(clock: list[float]) -> None:
    phases, inside, done = Phases({}), threading.Barrier(4), threading.Barrier(4)

    def work() -> None:
        with phases("metric"):
            inside.wait()
            done.wait()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    inside.wait()
    clock[0] += STEP
    with phases("generate"):
        clock[0] += STEP
    done.wait()
    for thread in threads:
        thread.join()
    spent = phases.seconds
    assert (spent["metric"], spent["generate"], spent[ANY]) == (2 * STEP, STEP, 2 * STEP)


def test_time_counts_when_a_block_fails(clock: list[float]) -> None:
    phases = Phases({})

    def work() -> None:
        with phases("render"):
            clock[0] += STEP
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert phases.seconds["render"] == STEP
