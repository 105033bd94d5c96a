"""What a picture shows: its axes as they were saved, and the file as a reader opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread


def kept_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Return a list to which every figure is added that is saved from now on."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **settings: Any) -> None:
        figures.append(self)
        save(self, *args, **settings)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def check_picture(path: Path, figure: Figure) -> None:
    """The file has the figure's shape, and whatever its legend names is there in its colour."""
    pixels = imread(path)[..., :3]
    height, width = pixels.shape[:2]
    assert width / height == pytest.approx(figure.get_figwidth() / figure.get_figheight(), rel=0.01)
    assert min(width, height) >= 300
    for axes in figure.axes:
        box = axes.get_position()
        rows = slice(round(height * (1 - box.y1)), round(height * (1 - box.y0)))
        inside = pixels[rows, round(width * box.x0) : round(width * box.x1)]
        for line in axes.get_legend_handles_labels()[0]:
            alike = np.isclose(inside, to_rgb(line.get_color()), atol=0.01).all(axis=-1)
            assert alike.sum() > 20, f"{line.get_label()!r} cannot be seen"
