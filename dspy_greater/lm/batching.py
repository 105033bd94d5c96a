"""One worker thread that answers what many callers ask, many at a time."""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CLOSED = "The local model was closed; make a new one with local_lm(...)"
_IDLE_SECONDS = 1.0
_alive: weakref.WeakSet[Batcher] = weakref.WeakSet()


class Batcher(Generic[Item, Result]):
    """Collect items from any number of threads and event loops into batches for ``answer``.

    A batch goes out when ``max_batch`` items wait, when ``batch_wait`` seconds have passed without
    a new one, or at once when the last batch had a single caller and it is back. The worker ends
    after a second without an item. An exception among the results is for its item's caller alone.
    """

    _worker: threading.Thread | None

    def __init__(
        self,
        answer: Callable[[list[Item]], Sequence[Result | Exception]],
        *,
        max_batch: int,
        batch_wait: float,
    ) -> None:
        self._answer = answer
        self.max_batch = max_batch
        self._batch_wait = batch_wait
        self._closed = False
        self._reset()
        _alive.add(self)

    def submit(self, item: Item) -> Future[Result]:
        """Queue an item; the future holds its result, and drops the item when cancelled."""
        future: Future[Result] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError(_CLOSED)
            self._queue.append((item, future))
            if self._worker is None:
                worker = threading.Thread(target=self._work, name="local-lm", daemon=True)
                worker.start()
                self._worker = worker
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """Stop the worker after its present batch; what still waits fails."""
        with self._changed:
            self._closed = True
            waiting = [future for _, future in self._queue]
            self._queue.clear()
            self._changed.notify_all()
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(RuntimeError(_CLOSED))

    def _abandon(self) -> None:
        # The interpreter's end kills its threads wherever they are, and one killed inside torch
        # dumps core. An exception ends the worker within one step of the generation.
        self.close()
        worker = self._worker
        if worker is not None and worker.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(worker.ident), ctypes.py_object(SystemExit)
            )
            worker.join()

    def _reset(self) -> None:
        # Also in a forked child, where the parent's threads, and what locks they held, are gone.
        self._changed = threading.Condition()
        self._queue: deque[tuple[Item, Future[Result]]] = deque()
        self._worker = None

    def _work(self) -> None:
        alone = False  # whether the last batch had a single caller
        while (batch := self._take(alone)) is not None:
            alone = self._serve(batch)
            del batch  # nothing is kept alive while waiting

    def _serve(self, batch: list[tuple[Item, Future[Result]]]) -> bool:
        """Answer a batch; return whether its one caller was the only one by then."""
        items = [item for item, _ in batch]
        results: Sequence[Result | BaseException] = []
        try:
            if items:
                results = self._answer(items)
            if len(results) != len(items):
                raise RuntimeError(f"{len(results)} results for {len(items)} items")
        except BaseException as error:  # a caller left without an answer would wait for ever
            results = [error] * len(items)
        alone = len(batch) + len(self._queue) == 1
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        return alone

    def _take(self, alone: bool) -> list[tuple[Item, Future[Result]]] | None:
        """Return the next batch without the cancelled items, or None when the worker is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, _IDLE_SECONDS)
            waiting = 0
            while not alone and waiting < len(self._queue) < self.max_batch and not self._closed:
                waiting = len(self._queue)
                self._changed.wait_for(partial(self._more_came, waiting), self._batch_wait)
            if not self._queue:
                self._worker = None
                return None
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self.max_batch))]
        return [each for each in batch if each[1].set_running_or_notify_cancel()]

    def _more_came(self, waiting: int) -> bool:
        return len(self._queue) > waiting or self._closed


def _reset_after_fork() -> None:
    for batcher in list(_alive):
        batcher._reset()


@atexit.register
def _abandon_at_exit() -> None:
    for batcher in list(_alive):
        batcher._abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
