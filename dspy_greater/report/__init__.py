"""What a finished compile looks like: a page and a table. Knows the record alone."""

from dspy_greater.report.results import DetailedResults

__all__ = ["DetailedResults"]
