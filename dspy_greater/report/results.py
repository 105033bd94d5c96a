"""The record of a compile, with what it takes to look at it."""

from __future__ import annotations

import os
from pathlib import Path

from dspy_greater.record import Record


class DetailedResults(Record):
    """The whole record of one compile; hangs on the result as ``detailed_results``."""

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write the record as one page of HTML that needs nothing else, and return its path.

        The page holds texts of training and validation examples.

        Raises:
            OSError: If the folder does not exist or cannot be written.
        """
        # Imported late: a program that is pickled with this class would take the page along.
        from dspy_greater.report.page import write

        return write(self, path)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a table of what became of each predictor."""
        from dspy_greater.report.page import table

        return table(self)
