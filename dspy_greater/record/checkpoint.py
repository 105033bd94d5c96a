"""What a compile leaves in its ``log_dir``: enough to go on after it was stopped or killed.

``state.json`` is replaced as a whole after every step, ``events.jsonl`` tells every step, and
``best_program.json`` is the best program so far.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from dspy_greater.basics.files import replace_file

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)

_PARTS = ("identity", "events", "state")


class CheckpointError(RuntimeError):
    """A ``log_dir`` cannot be used, or belongs to another run."""


class Checkpoint:
    """The folder of one compile, locked until it is closed.

    Hashes by name in ``identity`` make the run this run; ``state`` is what was saved last.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.folder, self.identity = Path(folder), dict(identity)
        self.state: dict[str, Any] | None = None
        self._state, self._log = self.folder / "state.json", self.folder / "events.jsonl"
        self._events, self._broken = 0, False
        self._lock = FileLock(self.folder / "lock")
        self._acquire()
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def save(self, state: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Write the state after a step, and tell the step in the log of events."""
        self._events += 1
        whole = dict(zip(_PARTS, (self.identity, self._events, state), strict=True))

        def write() -> None:
            with self._log.open("a") as file:
                file.write(json.dumps(event) + "\n")
            text = json.dumps(whole)
            replace_file(self._state, lambda path: path.write_text(text))

        self._attempt(write)

    def save_best(self, program: dspy.Module) -> None:
        """Write the best program so far; it loads wherever the student does."""
        self._attempt(lambda: replace_file(self.folder / "best_program.json", program.save))

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write, or warn once that the disk takes no more: a run outlives its checkpoints."""
        try:
            if not self._broken:
                write()
        except OSError as error:
            self._broken = True
            told = "%s cannot be written any more (%s): the run goes on without checkpoints."
            logger.warning(told, self.folder, error)

    def _acquire(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(
                f"log_dir {self.folder} is a file, not a folder: give the name of a folder, which "
                "is made if it does not exist."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise CheckpointError(
                f"{self.folder} is in use by another process: wait for it to end, or give this "
                "run a log_dir of its own."
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be written ({error}): give another log_dir."
            ) from error

    def _take_up(self) -> None:
        """Read the state, and forget the events after it."""
        if self._state.exists():
            try:
                whole = json.loads(self._state.read_bytes())
                identity, self._events, self.state = itemgetter(*_PARTS)(whole)
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{self._state} is damaged ({type(error).__name__}: {error}): delete the "
                    "folder to begin anew, or give another log_dir."
                ) from error
            names = dict.fromkeys([*self.identity, *identity])
            differing = [each for each in names if self.identity.get(each) != identity.get(each)]
            if differing:
                raise CheckpointError(
                    f"{self.folder} holds a run with another {', '.join(differing)}. To go on with "
                    "it, compile with what it was begun with; for a new run, give another log_dir."
                )
        if self._log.exists():
            kept = self._log.read_bytes().splitlines(keepends=True)[: self._events]
            os.truncate(self._log, sum(map(len, kept)))
