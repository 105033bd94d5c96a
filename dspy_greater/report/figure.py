"""The chart of the search as a matplotlib figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dspy_greater.report.chart import Panel, Series, panels, predictors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dspy_greater.record import DetailedResults

#: Colour, mark and size of each measure: told apart without colours and on top of each other.
STYLES = {
    "training score": ("tab:blue", "o", 1.0),
    "validation score": ("tab:orange", "D", 0.5),
    "training loss": ("tab:blue", "o", 1.0),
}


def figure(record: DetailedResults) -> Figure:
    """Draw each predictor's scores, and losses where there are any, one above the other.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.ticker import PercentFormatter
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "plot() draws with matplotlib, which is not installed: pip install matplotlib, or "
            "pip install 'dspy-greater[report]'. report('run.html') does without."
        ) from error
    drawn = [(name, panel) for name in predictors(record) for panel in panels(record, name)]
    heights = [3.0 if panel.percent else 2.0 for _, panel in drawn] or [2.0]
    drawing, axes = pyplot.subplots(
        len(heights),
        figsize=(8, sum(heights) + 0.5),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    # A notebook shows what a cell returns; it would show an open figure a second time.
    pyplot.close(drawing)
    for (name, panel), ax in zip(drawn, axes[:, 0], strict=False):
        for series in panel.series:
            _draw(series, panel, ax)
        ax.set_ylim(panel.ticks[0] - 0.04 * panel.height, panel.ticks[-1] + 0.04 * panel.height)
        ax.set_xlim(-0.5, panel.size - 0.5)
        ax.set_xticks(*zip(*panel.labels, strict=True))
        ax.set(title=name, xlabel="step", ylabel=panel.title)
        ax.grid(axis="y", alpha=0.3)
        ax.legend(fontsize="small")
        if panel.percent:
            ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    if not drawn:
        axes[0, 0].set_axis_off()
        axes[0, 0].text(0.5, 0.5, "no instruction was tried", ha="center", va="center")
    return drawing


def _draw(series: Series, panel: Panel, ax: Any) -> None:
    """Draw one measure: dots, hollow where refused, and the current instructions' line."""
    colour, marker, scale = STYLES[series.name]
    if line := series.line:
        places, values = zip(*line, (panel.size - 0.5, line[-1][1]), strict=True)
        ax.step(places, values, where="post", color=colour)
    for held, face in ((True, colour), (False, "none")):
        dots = [dot for dot in series.dots if dot.held == held]
        ax.scatter(
            [dot.place for dot in dots],
            [dot.value for dot in dots],
            s=[scale * (12 if dot.partial else 36) for dot in dots],
            marker=marker,
            facecolors=face,
            edgecolors=colour,
            label=f"{series.name}, {'accepted' if held else 'refused'}" if dots else None,
        )
