"""Where the time of a compile goes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

#: Messages to ids, the white box's work, the metric, and runs elsewhere: on the target, or on a
#: served copy of the white box. What is left is the program itself, DSPy and bookkeeping.
PHASES = ("render", "generate", "gradient", "score", "metric", "target", "served")
#: At least one of them.
ANY = "any"


class Phases:
    """Wall-clock seconds by phase, over all threads.

    A second in which several threads are in one phase counts once for it. Different phases may
    overlap: a metric runs while other rows are still generated.

    Args:
        earlier: What :meth:`seconds` returned, to go on from.
    """

    def __init__(self, earlier: Mapping[str, float] | None = None) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._total = {**dict.fromkeys((*PHASES, ANY), 0.0), **(earlier or {})}

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
                        self._total[key] += time.perf_counter() - self._since[key]

    def seconds(self) -> dict[str, float]:
        """Return the seconds in each phase so far, and, under :data:`ANY`, in at least one."""
        return dict(self._total)
