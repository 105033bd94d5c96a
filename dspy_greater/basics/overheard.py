"""What other libraries say while a compile runs: counted, so that it can be told once."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Libraries whose warnings come once for each run of the program, or for each batch.
LIBRARIES = ("dspy", "transformers", "torch", "huggingface_hub", "LiteLLM", "litellm")
#: What DSPy says of an answer that ended at ``max_tokens``.
TRUNCATED = "LM response was truncated"
_LENGTH = 200


class Overheard(logging.Filter):
    """Keeps warnings of other libraries from the handlers that it filters, and notes them.

    What is more than a warning, or less, passes: errors, and what a user asked to see.

    Args:
        note: Called with each message, by one thread at a time.
        ours: Whether the present thread runs for the compile; another's truncated answers pass.
    """

    def __init__(self, note: Callable[[str], object], ours: Callable[[], bool]) -> None:
        super().__init__()
        self._told, self._ours = note, ours
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a handler is to show a message."""
        library = record.name.partition(".")[0]
        if record.levelno != logging.WARNING or library not in LIBRARIES:
            return True
        message = record.getMessage()
        if TRUNCATED in message and not self._ours():
            return True
        if not hasattr(record, "overheard"):  # it goes through several handlers
            record.overheard = True
            self._note(f"{library}: {message}")
        return False

    def show(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        """Note a warning of Python's; stands in for ``warnings.showwarning``."""
        self._note(f"{category.__name__}: {message}")

    def _note(self, text: str) -> None:
        with self._lock:
            self._told(" ".join(text.split())[:_LENGTH])


@contextmanager
def overheard(note: Callable[[str], object], ours: Callable[[], bool]) -> Iterator[None]:
    """Note, within a block, what other libraries would put on the console."""
    heard = Overheard(note, ours)
    named = [logging.getLogger(), *map(logging.getLogger, LIBRARIES)]
    handlers = {handler for logger in named for handler in logger.handlers}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        handler.addFilter(heard)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = heard.show
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(heard)
