"""Where the time of a compile goes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

#: Messages to ids, the white box's work, the metric, and runs on a target elsewhere. What is left
#: is the program itself, DSPy and bookkeeping.
PHASES = ("render", "generate", "gradient", "score", "metric", "target")
#: At least one of them.
ANY = "any"


class Phases:
    """Wall-clock seconds by phase, over all threads.

    A second in which several threads are in one phase counts once for it. Different phases may
    overlap: a metric runs while other rows are still generated.

    ``seconds`` are those in each phase so far, and, under :data:`ANY`, in at least one.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self.seconds = seconds
        for phase in (*PHASES, ANY):
            seconds.setdefault(phase, 0.0)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time of a block."""
        with self._lock:
            for key in (phase, ANY):
                if not self._inside[key]:
                    self._since[key] = time.perf_counter()
                self._inside[key] += 1
        try:
            yield
        finally:
            with self._lock:
                for key in (phase, ANY):
                    self._inside[key] -= 1
                    if not self._inside[key]:
                        self.seconds[key] += time.perf_counter() - self._since[key]
