from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest

from dspy_greater.lm.batching import Batcher


class Doubler:
    """Doubles numbers, notes the batches, and can be made to stand still."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.started = threading.Event()

    def __call__(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        self.started.set()
        assert self.open.wait(30)
        return [ValueError("unlucky") if item == 13 else 2 * item for item in items]


def test_calls_of_many_threads_go_out_together() -> None:
    # A batch never goes out half full here: the wait for further items is a minute.
    doubler = Doubler()
    batcher = Batcher(doubler, max_batch=8, batch_wait=60)
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda item: batcher.submit(item).result(30), range(20, 44)))
    assert results == [2 * item for item in range(20, 44)]
    assert [len(batch) for batch in doubler.batches] == [8, 8, 8]


def test_what_arrives_during_a_batch_makes_the_next_one() -> None:
    doubler = Doubler()
    doubler.open.clear()
    batcher = Batcher(doubler, max_batch=64, batch_wait=0)
    first = batcher.submit(0)
    assert doubler.started.wait(30)
    others = [batcher.submit(item) for item in range(1, 11)]
    doubler.open.set()
    assert [each.result(30) for each in [first, *others]] == [2 * item for item in range(11)]
    assert doubler.batches == [[0], list(range(1, 11))]


def test_a_batch_goes_out_at_once_when_all_known_callers_wait() -> None:
    doubler = Doubler()
    batcher = Batcher(doubler, max_batch=3, batch_wait=60)
    for item in (1, 2):
        batcher.submit(item).cancel()
    assert batcher.submit(3).result(30) == 6  # a batch of one: now one caller is known
    assert batcher.submit(4).result(30) == 8  # and nobody waits a minute for two more
    assert doubler.batches == [[3], [4]]


def test_an_exception_reaches_its_own_caller_only() -> None:
    batcher = Batcher(Doubler(), max_batch=3, batch_wait=60)
    futures = [batcher.submit(item) for item in (12, 13, 14)]
    assert futures[0].result(30) == 24
    with pytest.raises(ValueError, match="unlucky"):
        futures[1].result(30)
    assert futures[2].result(30) == 28


@pytest.mark.parametrize("results", [[1], RuntimeError("broken")])
def test_a_failing_answer_leaves_nobody_waiting(results: object) -> None:
    def answer(items: list[int]) -> list[int]:
        if isinstance(results, Exception):
            raise results
        return results  # type: ignore[return-value]  # one result for two items

    batcher: Batcher[int, int] = Batcher(answer, max_batch=2, batch_wait=60)
    futures = [batcher.submit(item) for item in (1, 2)]
    for future in futures:
        with pytest.raises(RuntimeError, match=r"broken|1 results for 2 items"):
            future.result(30)


def test_closing_fails_what_waits_and_what_comes() -> None:
    doubler = Doubler()
    doubler.open.clear()
    batcher = Batcher(doubler, max_batch=1, batch_wait=0)
    running, waiting, dropped = (batcher.submit(item) for item in range(3))
    assert doubler.started.wait(30)
    dropped.cancel()
    batcher.close()
    doubler.open.set()
    assert running.result(30) == 0
    with pytest.raises(RuntimeError, match="closed"):
        waiting.result(30)
    with pytest.raises(CancelledError):
        dropped.result(30)
    with pytest.raises(RuntimeError, match="local_lm"):
        batcher.submit(4)


def test_the_worker_ends_when_idle_and_starts_again() -> None:
    before = set(threading.enumerate())
    batcher = Batcher(Doubler(), max_batch=1, batch_wait=0)
    assert batcher.submit(1).result(30) == 2
    (worker,) = set(threading.enumerate()) - before
    worker.join(30)
    assert not worker.is_alive()
    assert batcher.submit(2).result(30) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_its_own_worker() -> None:
    doubler = Doubler()
    doubler.open.clear()
    batcher = Batcher(doubler, max_batch=1, batch_wait=0)
    future = batcher.submit(1)
    assert doubler.started.wait(30)
    child = os.fork()
    if child == 0:
        try:
            doubler.open = threading.Event()
            doubler.open.set()
            os._exit(batcher.submit(21).result(30))
        except BaseException:
            os._exit(1)
    doubler.open.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert future.result(30) == 2


def test_the_process_ends_although_a_batch_is_under_way() -> None:
    script = """
import threading, time
from dspy_greater.lm.batching import Batcher

started = threading.Event()

def endless(items):
    started.set()
    while True:
        time.sleep(0.001)

Batcher(endless, max_batch=1, batch_wait=0).submit(1)
started.wait()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
