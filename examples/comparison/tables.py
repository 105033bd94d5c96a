"""What a comparison found: a Markdown table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from examples.benchmarks.common import bootstrap, geometric_mean, markdown
from examples.comparison.optimizers import BASELINES

Case = dict[str, Any]


def accuracy(case: Case) -> float:
    """Return the held-out accuracy of a cell."""
    return mean(case["scores"])


def table(cases: Sequence[Case], rows: Sequence[str], budget: int) -> str:
    """Return one line for each row: accuracy, what was gained over the start, and its cost.

    Intervals are bootstrapped over the runs (tasks and seeds) that a row and the start share.
    """
    start = {_run(case): accuracy(case) for case in cases if case["row"] == "none"}
    lines = []
    for row in rows:
        own = [c for c in _of(cases, row, budget) if _run(c) in start]
        if own:
            lines.append([row, *_line(own, [start[_run(case)] for case in own])])
    header = [
        "optimizer", "runs", "held-out %", "gain, points (95 %)", "below its start", "failed",
        "tokens", "seconds",
    ]  # fmt: skip
    return markdown(header, lines)


def by_task(cases: Sequence[Case], rows: Sequence[str], budget: int) -> str:
    """Return the mean held-out accuracy by task and row."""
    tasks = list(dict.fromkeys(case["task"] for case in cases))
    lines = []
    for row in rows:
        own = _of(cases, row, budget)
        scores = [[accuracy(case) for case in own if case["task"] == task] for task in tasks]
        if own:
            lines.append([row, *(f"{100 * mean(each):.0f}" if each else "" for each in scores)])
    return markdown(["optimizer", *tasks], lines)


def leads(cases: Sequence[Case], rows: Sequence[str], budget: int) -> str:
    """Say by how much the first optimizer is ahead of each other row, and in what time.

    Only runs that both have count. The share of the other's seconds is their geometric mean, with
    the least and the most.
    """
    first = next((row for row in rows if row not in BASELINES), "")
    ours = {_run(case): case for case in _of(cases, first, budget)}
    lines = []
    for row in rows:
        pairs = [(ours[_run(c)], c) for c in _of(cases, row, budget) if _run(c) in ours]
        if row != first and pairs:
            gaps = [100 * (accuracy(own) - accuracy(its)) for own, its in pairs]
            lead, low, high = bootstrap(gaps)
            told = f"- {first} - {row}: {lead:+.1f} points ({low:+.1f} to {high:+.1f})"
            lines.append(told + _share(pairs))
    return "\n".join(lines)


def _share(pairs: Sequence[tuple[Case, Case]]) -> str:
    """Tell in what share of the other's seconds ours ran; nothing of one that costs nothing."""
    if not all(its["seconds"] for _, its in pairs):
        return ""
    shares = [own["seconds"] / its["seconds"] for own, its in pairs]
    middle, count = geometric_mean(shares), "1 run" if len(pairs) == 1 else f"{len(pairs)} runs"
    spread = f"by run {min(shares):.2f} to {max(shares):.2f}"
    return f", in {middle:.2f} of its seconds ({spread}), {count}"


def plot(cases: Sequence[Case], rows: Sequence[str], path: Path) -> None:
    """Draw mean accuracy against mean tokens and mean time, a line through each one's budgets.

    Only runs (tasks and seeds) count that the start and every optimizer of ``rows`` have, and only
    budgets at which all of them were run.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    cases = _shared(cases, rows)
    figure, panels = plt.subplots(1, 2, figsize=(12, 5), sharey=True, layout="constrained")
    costs = {"tokens": (1000, "thousand tokens through the model"), "seconds": (60, "minutes")}
    for axes, (cost, (unit, name)) in zip(panels, costs.items(), strict=True):
        for index, row in enumerate(rows):
            if row in BASELINES:
                _level(axes, row, _of(cases, row, 0), 1 - index / 6)
            else:
                _path(axes, row, cases, cost, unit)
        axes.set_xlabel(name)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(left=0)
    panels[0].set_ylabel("held-out accuracy, %")
    panels[0].legend(frameon=False, fontsize=8, loc="best")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _shared(cases: Sequence[Case], rows: Sequence[str]) -> list[Case]:
    """Return the cells of those runs that the start has and each optimizer that has any."""
    runs = {_run(case) for case in cases if case["row"] == "none"}
    for row in set(rows) - set(BASELINES):
        runs &= {_run(case) for case in cases if case["row"] == row} or runs
    return [case for case in cases if _run(case) in runs]


def _level(axes: Any, row: str, own: Sequence[Case], right: float) -> None:
    """Draw a baseline, which costs nothing, its name up to so far right, for some are level."""
    if not own:
        return
    level = 100 * mean(map(accuracy, own))
    axes.axhline(level, linewidth=0.8, color="0.6", zorder=0)
    axes.annotate(
        row, (right, level), xycoords=("axes fraction", "data"),
        xytext=(-4, 3), textcoords="offset points", ha="right", color="0.4", fontsize=8,
    )  # fmt: skip


def _path(axes: Any, row: str, cases: Sequence[Case], cost: str, unit: int) -> None:
    """Draw what an optimizer reaches with each budget, from the start on; not one that failed."""
    budgets = sorted({case["budget"] for case in cases if case["budget"]})
    runs = len(_of(cases, "none", 0))
    there = [own for budget in budgets if len(own := _of(cases, row, budget)) == runs]
    if not there or all(case["error"] for own in there for case in own):
        return
    axes.plot(
        [0, *(mean(case[cost] for case in own) / unit for own in there)],
        [100 * mean(map(accuracy, own)) for own in (_of(cases, "none", 0), *there)],
        marker="o",
        markersize=4,
        linewidth=2.2 if row == "greater" else 1.2,
        label=row,
    )


def _line(own: Sequence[Case], start: Sequence[float]) -> list[str]:
    gains = [100 * (accuracy(case) - before) for case, before in zip(own, start, strict=True)]
    gain, low, high = bootstrap(gains)
    failed = sum(case["error"] is not None for case in own)
    return [
        str(len(own)),
        f"{100 * mean(map(accuracy, own)):.1f}",
        f"{gain:+.1f} ({low:+.1f} to {high:+.1f})",
        str(sum(each < 0 for each in gains)),
        str(failed) if failed else "",
        f"{mean(case['tokens'] for case in own):,.0f}",
        f"{mean(case['seconds'] for case in own):.0f}",
    ]


def _of(cases: Sequence[Case], row: str, budget: int) -> list[Case]:
    wanted = 0 if row in BASELINES else budget
    return [case for case in cases if case["row"] == row and case["budget"] == wanted]


def _run(case: Case) -> tuple[str, int]:
    return case["task"], case["seed"]
