"""The figure for a notebook draws the numbers of the record."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from dspy_greater import DetailedResults
from tests.support.records import RECORDS, improved, paper, several


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_every_record_can_be_drawn(record: DetailedResults, tmp_path: Path) -> None:
    others = pyplot.get_fignums()
    figure = record.plot()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "plot.png")
    assert pyplot.get_fignums() == others  # a notebook would show an open figure twice


def test_lines_are_what_was_held() -> None:
    (axes,) = improved().plot().axes
    training, validation = axes.lines
    assert training.get_xydata().tolist() == [[0, 0.25], [2, 0.5], [4, 1.0], [4.5, 1.0]]
    assert validation.get_xydata().tolist() == [[0, 0.25], [2, 0.5], [4, 0.8125], [4.5, 0.8125]]


def test_dots_are_what_was_tried_hollow_where_refused() -> None:
    (axes,) = improved().plot().axes
    held, refused, *_ = axes.collections
    assert held.get_offsets().tolist() == [[0, 0.25], [2, 0.5], [4, 1.0]]
    assert refused.get_offsets().tolist() == [[1, 0.0], [3, 0.75]]
    assert held.get_facecolor().size
    assert not refused.get_facecolor().size
    small, large = refused.get_sizes()
    assert small < large  # the first lost its race on part of the examples


def test_losses_and_other_predictors_are_drawn_below() -> None:
    assert [axes.get_ylabel() for axes in paper().plot().axes] == ["score", "training loss"]
    assert [axes.get_title() for axes in several().plot().axes] == ["predict", "judge"]


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        improved().plot()
