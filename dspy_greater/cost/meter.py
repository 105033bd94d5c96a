"""The one meter of a compile: runs, tokens by whom, seconds by phase and by whose turn it was.

It is owned by the compile and handed to whatever spends, so what another thread does with the same
model meanwhile is not this compile's. All of it is plain data, saved and taken up again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from dspy_greater.cost.counts import Counts, Summed
from dspy_greater.cost.phases import ANY, Phases

#: Under this name the meter of a compile stands in DSPy's settings while its runs are made, so that
#: whatever thread a program starts, a local model knows on whose behalf it is asked.
SETTING = "dspy_greater_meter"
#: In whose name everything is spent before the first turn.
SETUP = "setup"


@dataclass(frozen=True)
class Usage(Summed):
    """What one language model did, without what DSPy's cache answered.

    Tokens are those of prompts and answers as it reported them; 0 where it reports none.
    """

    calls: int = 0
    tokens_read: int = 0
    tokens_written: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.tokens_read + self.tokens_written


@dataclass
class Spent(Summed):
    """What bounds are about: scored runs of the program, tokens and wall-clock time.

    The tokens are those through the white box.
    """

    metric_calls: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> Spent:
        """What one of these runs costs in the mean."""
        count = max(self.metric_calls, 1)
        return Spent(1, round(self.tokens / count), self.seconds / count)


@dataclass
class Meter:
    """What a compile has cost so far.

    Attributes:
        counts: Work of the white box.
        parse_failures: Runs whose output did not parse.
        errors: Other runs that failed, by the kind of what was raised.
        target: By name, what language models did that verify candidates in the white box's place.
        phases: Seconds by phase, see :class:`Phases`.
        spent: By whose turn it was, see :meth:`turn`.
        runs: What of it went into runs of the program, see :meth:`running`.
        engine: The local model that books here what it generates; None for any.
        whose: In whose name is spent what is spent now.
        stopped: Set once nobody waits any more for what the white box does for the compile.
    """

    counts: Counts = field(default_factory=Counts)
    parse_failures: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    target: dict[str, Usage] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=lambda: {SETUP: Spent()})
    runs: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self.engine: object = None
        self.stopped = threading.Event()
        self._phases = Phases(self.phases)
        self._lock = threading.Lock()
        self.whose = SETUP
        self._since = time.perf_counter()

    def __deepcopy__(self, memo: dict[int, Any]) -> Meter:
        return self  # whoever copies DSPy's settings spends on the same meter

    def turn(self, name: str) -> None:
        """Put all that is spent from now on under a name."""
        with self._lock:
            self._tick()
            self.whose = name
            self.spent.setdefault(name, Spent())

    def book(self, work: Counts) -> None:
        """Count work of the white box."""
        with self._lock:
            self.counts += work
            self.spent[self.whose].tokens += work.tokens

    def book_run(
        self,
        usage: Mapping[str, Usage],
        *,
        parse_failed: bool = False,
        error: str = "",
    ) -> None:
        """Count a scored run, and what a target's LMs, by name, did for it."""
        with self._lock:
            self.spent[self.whose].metric_calls += 1
            self.parse_failures += parse_failed
            if error:
                self.errors[error] = self.errors.get(error, 0) + 1
            for name, each in usage.items():
                self.target[name] = self.target.get(name, Usage()) + each

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count what is spent in a block as the cost of runs of the program, too."""
        before = self.total()
        try:
            yield
        finally:
            self.runs += self.total() - before

    @property
    def hopeless(self) -> bool:
        """Whether every run so far has failed."""
        return self.parse_failures + sum(self.errors.values()) == self.total().metric_calls

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the seconds of a block under a phase, see :data:`PHASES`."""
        return self._phases(name)

    def total(self, *without: str) -> Spent:
        """Return what was spent in all, some turns left out."""
        with self._lock:
            self._tick()
            return sum((s for name, s in self.spent.items() if name not in without), Spent())

    def seconds_by_phase(self) -> dict[str, float]:
        """Return the seconds in each phase, and in none of them, ``"other"``."""
        by_phase = dict(self.phases)
        busy = by_phase.pop(ANY)
        return {**by_phase, "other": self.total().seconds - busy}

    def dump(self) -> dict[str, Any]:
        """Return everything as plain data."""
        self.total()
        return asdict(self)

    @classmethod
    def load(cls, saved: Mapping[str, Any]) -> Meter:
        """Return a meter that goes on from what :meth:`dump` returned."""
        return cls(
            counts=Counts(**saved["counts"]),
            parse_failures=saved["parse_failures"],
            errors=dict(saved.get("errors", {})),
            target={name: Usage(**each) for name, each in saved["target"].items()},
            phases=dict(saved["phases"]),
            spent={SETUP: Spent()} | {name: Spent(**s) for name, s in saved["spent"].items()},
            runs=Spent(**saved["runs"]),
        )

    def _tick(self) -> None:
        """Put the time since the last look under the name whose turn it is."""
        now = time.perf_counter()
        self.spent[self.whose].seconds += now - self._since
        self._since = now
