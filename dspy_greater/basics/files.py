"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes, what: str) -> Path:
    """Write a file and return its path; ``what`` it is called in errors."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {target.parent} does not exist: make it first, or write the {what} "
            "somewhere else."
        )
    try:
        replace_file(target, lambda partial: partial.write_bytes(content))
    except OSError as error:
        raise OSError(
            f"the {what} cannot be written to {target} ({error}): give another path."
        ) from error
    return target


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path``, of the same ending, and put it there in one go."""
    partial = path.with_name(f"partial.{path.name}")
    try:
        write(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
