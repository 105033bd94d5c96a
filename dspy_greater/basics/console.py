"""What is said on the console while a compile runs."""

from __future__ import annotations

import logging
import sys

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)


def say(text: str, progress: bool, level: int = logging.WARNING) -> None:
    """Tell the user something where the progress is; without progress it is logged."""
    if progress:
        tqdm.write(text, file=sys.stderr)
    else:
        logger.log(level, text)


def redraws() -> bool:
    """Whether a bar can be drawn over: on a terminal, and in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def shorten(text: str, width: int = 60) -> str:
    """Fit a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"
