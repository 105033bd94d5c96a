"""What a compile leaves in its ``log_dir``: enough to go on after it was stopped or killed.

``state.json`` is replaced as a whole after every step, and the one before it is kept beside it:
a file that was damaged costs one step. ``events.jsonl`` tells every step, ``best_program.json`` is
the best program so far. All of it is JSON.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    import dspy

logger = logging.getLogger(__name__)

STATE, PREVIOUS, EVENTS = "state.json", "state.previous.json", "events.jsonl"
BEST_PROGRAM = "best_program.json"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class CheckpointError(RuntimeError):
    """A ``log_dir`` cannot be used, or belongs to another run."""


class Checkpoint:
    """The folder of one compile, locked until it is closed.

    Args:
        folder: The ``log_dir``; made if it does not exist.
        identity: What makes the run this run, hashes by name; the state of a run with another
            identity is not taken up.

    Attributes:
        state: What was saved last, to go on from; None where nothing was.

    Raises:
        CheckpointError: If the folder cannot be written, is in use by another process, or
            holds the state of another run.
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        self.identity = dict(identity)
        self._lock = self._locked()
        self._broken = False
        self._events = 0
        self.state: dict[str, Any] | None = None
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    def save(self, state: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Write the state after a step, and tell the step in the log of events."""
        self._events += 1
        body = {"identity": self.identity, "events": self._events, "state": state}

        def write() -> None:
            with (self.folder / EVENTS).open("a") as file:
                file.write(json.dumps(event) + "\n")
            self._replace(json.dumps({"digest": _digest(body), "body": body}))

        self._attempt(write)

    def save_best(self, program: dspy.Module) -> None:
        """Write the best program so far; it loads wherever the student does."""
        # DSPy chooses the format by the name's ending.
        partial = self.folder / f"partial.{BEST_PROGRAM}"

        def write() -> None:
            program.save(partial)
            partial.replace(self.folder / BEST_PROGRAM)

        self._attempt(write)

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def _attempt(self, write: Callable[[], None]) -> None:
        """Write, or warn once that the disk takes no more: a run outlives its checkpoints."""
        if self._broken:
            return
        try:
            write()
        except OSError as error:
            self._broken = True
            logger.warning(
                "%s cannot be written any more (%s): the run goes on without checkpoints.",
                self.folder,
                error,
            )

    def _locked(self) -> FileLock:
        if self.folder.exists() and not self.folder.is_dir():
            raise CheckpointError(
                f"log_dir {self.folder} is a file, not a folder: give the name of a folder, which "
                "is made if it does not exist."
            )
        lock = FileLock(self.folder / "lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise CheckpointError(
                f"{self.folder} is in use by another process: wait for it to end, or give this "
                "run a log_dir of its own."
            ) from error
        except OSError as error:
            raise CheckpointError(
                f"{self.folder} cannot be written ({error}): give another log_dir."
            ) from error
        return lock

    def _take_up(self) -> None:
        """Read the last whole state, and forget the events after it."""
        found = [self.folder / name for name in (STATE, PREVIOUS)]
        bodies = (body for path in found if path.exists() and (body := _read(path)) is not None)
        body = next(bodies, None)
        if body is not None:
            self._check(body["identity"])
            self.state, self._events = body["state"], body["events"]
        events = self.folder / EVENTS
        if events.exists():
            kept = events.read_text().splitlines(keepends=True)[: self._events]
            partial = events.with_name(f"partial.{EVENTS}")
            partial.write_text("".join(kept))
            partial.replace(events)

    def _check(self, identity: Mapping[str, str]) -> None:
        names = [*self.identity, *(name for name in identity if name not in self.identity)]
        differing = [name for name in names if self.identity.get(name) != identity.get(name)]
        if differing:
            raise CheckpointError(
                f"{self.folder} holds a run with another {', '.join(differing)}. To go on with "
                "it, compile with what it was begun with; for a new run, give another log_dir."
            )

    def _replace(self, text: str) -> None:
        partial = self.folder / f"partial.{STATE}"
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if (self.folder / STATE).exists():
            (self.folder / STATE).replace(self.folder / PREVIOUS)
        partial.replace(self.folder / STATE)


def fingerprint(value: Any) -> str:
    """Return a short hash of anything, equal in every process.

    What JSON cannot hold counts by its ``repr``, without the address that some of them have.
    """
    return _digest(value)[:16]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=lambda each: _ADDRESS.sub("", repr(each)))
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> dict[str, Any] | None:
    """Return the body of a state file, None (and a warning) if it is damaged."""
    try:
        content = json.loads(path.read_text())
        body: dict[str, Any] = content["body"]
        if content["digest"] == _digest(body):
            return body
    except (ValueError, KeyError, TypeError, UnicodeDecodeError):
        pass
    logger.warning("%s is damaged: going back to the state before it.", path)
    return None
