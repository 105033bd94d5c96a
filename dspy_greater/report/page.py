"""The record of a compile as one page of HTML that needs nothing else, and as a short table.

Templates escape whatever is put into them, and the page forbids scripts and access to the network.
"""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from dspy_greater.basics.files import write_whole
from dspy_greater.record import Record, looks, usage_text
from dspy_greater.report import chart, diff, text

_TEMPLATES = Environment(
    loader=PackageLoader("dspy_greater.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_NUMBERS = (text.percent, text.duration, text.verdict, looks)
_TEMPLATES.filters.update({each.__name__: each for each in _NUMBERS}, usage=usage_text)
_TEMPLATES.globals.update(chart=chart, diff=diff)


def page(record: Record) -> str:
    """Return a page that shows the record."""
    outcomes = {outcome.predictor: outcome for outcome in record.outcomes}
    predictors = [(name, outcomes.get(name)) for name in chart.predictors(record)]
    return _TEMPLATES.get_template("page.html").render(record=record, predictors=predictors)


def table(record: Record) -> str:
    """Return a table of what became of each predictor, for a notebook."""
    return _TEMPLATES.get_template("notebook.html").render(record=record)


def write(record: Record, path: str | os.PathLike[str]) -> Path:
    """Write the page, or replace it, and return its path."""
    # Half a surrogate pair in a user's text has no UTF-8.
    content = page(record).encode("utf-8", "xmlcharrefreplace")
    return write_whole(path, content, "report")
