"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes, what: str) -> Path:
    """Write a file, or replace it, in one go.

    Whoever reads it meanwhile, or after the process was killed, finds the old content or the new
    and never a part of it.

    Args:
        path: Where to.
        content: What to write.
        what: What to call it in errors, e.g. ``"report"``.

    Returns:
        The path.

    Raises:
        OSError: If the folder does not exist or cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"the folder {target.parent} does not exist: make it first, or write the {what} "
            "somewhere else."
        )
    partial = target.with_name(f"partial.{target.name}")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(
            f"the {what} cannot be written to {target} ({error}): give another path."
        ) from error
    return target
