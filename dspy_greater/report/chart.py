"""The search as a chart: what was tried, how it scored, what was held.

Places go from left to right in the order in which instructions were tried. What is needed to draw
is here, for the page and for matplotlib alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

from dspy_greater.record import Candidate, DetailedResults
from dspy_greater.report.text import percent, short

#: Labels of the horizontal axis that have room on a telephone.
LABELS = 10
#: What may become of an instruction that was tried, in words.
FATES = {
    "accepted": "accepted",
    "refused": "refused",
    "partial": "refused on part of the examples",
}
#: A candidate's value and what it is in words; None where it has none.
Measure = Callable[[Candidate], tuple[float, str] | None]


@dataclass(frozen=True)
class Dot:
    """One measure of one instruction that was tried.

    Attributes:
        place: How many were tried before it.
        value: The measure.
        held: Whether the search took it.
        partial: Whether it was run on fewer examples than others.
        returned: Whether it is in the returned program.
        label: All of that in words.
    """

    place: int
    value: float
    held: bool
    partial: bool
    returned: bool
    label: str

    @property
    def fate(self) -> str:
        """A key of the legend: ``"accepted"``, ``"refused"`` or ``"partial"``."""
        return "accepted" if self.held else "partial" if self.partial else "refused"


@dataclass(frozen=True)
class Series:
    """One measure over the search.

    Attributes:
        name: ``"training score"``, ``"validation score"`` or ``"training loss"``.
        dots: Those instructions that have it.
    """

    name: str
    dots: list[Dot]

    @property
    def line(self) -> list[tuple[int, float]]:
        """Places and values of the current instructions; each holds until the next."""
        return [(dot.place, dot.value) for dot in self.dots if dot.held]

    def glyph(self, fate: str) -> str:
        """Return the name of the mark for some of its dots: validation has marks of its own."""
        return f"{'diamond' if self.name == 'validation score' else 'circle'}-{fate}"

    @property
    def fates(self) -> list[str]:
        """What became of its dots, as the legend has to explain."""
        return [fate for fate in FATES if any(dot.fate == fate for dot in self.dots)]


@dataclass(frozen=True)
class Panel:
    """Measures with one vertical axis.

    Attributes:
        series: What is drawn.
        ticks: Values of the vertical axis, from its low to its high end.
        percent: Whether they are shares.
        size: Instructions tried.
        steps: The middle of each step, with its number.
    """

    series: list[Series]
    ticks: list[float]
    percent: bool
    size: int
    steps: list[tuple[float, int]]

    @property
    def title(self) -> str:
        """What the vertical axis measures."""
        return "score" if self.percent else "training loss"

    def left(self, place: float) -> float:
        """Return a place in percent of the width."""
        return 100 * (place + 0.5) / self.size

    def top(self, value: float) -> float:
        """Return a value in percent of the height, from above."""
        return 100 * (self.ticks[-1] - value) / self.height

    @property
    def height(self) -> float:
        """Distance from the lowest to the highest value of the axis."""
        return self.ticks[-1] - self.ticks[0]

    def text(self, value: float) -> str:
        """Return a tick's label."""
        return f"{value:.0%}" if self.percent else f"{value:g}"

    @property
    def labels(self) -> list[tuple[float, int]]:
        """Those steps whose numbers have room on the axis."""
        kept: list[tuple[float, int]] = []
        for place, step in self.steps:
            if not kept or LABELS * (place - kept[-1][0]) >= self.size:
                kept.append((place, step))
        return kept

    def stairs(self, series: Series) -> list[tuple[float, float, float, float]]:
        """Return the current instructions' line as pieces ``x1, y1, x2, y2``, in percent."""
        corners = [(self.left(place), self.top(value)) for place, value in series.line]
        ends = [*corners[1:], (100.0, corners[-1][1])] if corners else []
        level = [(x, y, end, y) for (x, y), (end, _) in zip(corners, ends, strict=True)]
        rises = [(end, y, end, to) for (_, y), (end, to) in zip(corners, ends, strict=True)]
        return [piece for pair in zip(level, rises, strict=True) for piece in pair]


def predictors(record: DetailedResults) -> list[str]:
    """Return the predictors of a record in order, also one whose search was broken off."""
    judged = [outcome.predictor for outcome in record.outcomes]
    return list(dict.fromkeys([*judged, *(c.predictor for c in record.candidates)]))


def panels(record: DetailedResults, predictor: str) -> list[Panel]:
    """Return what was tried for a predictor: scores, and losses where the schedule has them."""
    tried = [c for c in record.candidates if c.predictor == predictor]
    after = next((o.after for o in record.outcomes if o.predictor == predictor), None)
    most = max((len(candidate.train_scores) for candidate in tried), default=0)

    def series(name: str, measure: Measure) -> Series:
        dots = [
            Dot(
                place,
                value=measured[0],
                held=each.accepted,
                partial=measure is _training and len(each.train_scores) < most,
                returned=each.instruction == after,
                label=f"{measured[1]}, {about(each)}",
            )
            for place, each in enumerate(tried)
            if (measured := measure(each)) is not None
        ]
        return Series(name, dots)

    places: dict[int, list[int]] = {}
    for place, each in enumerate(tried):
        places.setdefault(each.step, []).append(place)
    steps = [(mean(covered), step) for step, covered in places.items()]
    scores = [series("training score", _training), series("validation score", _validation)]
    losses = series("training loss", _loss)
    found = []
    if shown := [each for each in scores if each.dots]:
        found.append(Panel(shown, [0, 0.25, 0.5, 0.75, 1], True, len(tried), steps))
    if losses.dots:
        ticks = ticks_over([dot.value for dot in losses.dots])
        found.append(Panel([losses], ticks, False, len(tried), steps))
    return found


def about(candidate: Candidate) -> str:
    """Say where an instruction comes from, what became of it, and how it reads."""
    fate = "accepted" if candidate.accepted else "refused"
    return f"step {candidate.step}, {candidate.kind}, {fate}: {candidate.instruction}"


def ticks_over(values: list[float], count: int = 3) -> list[float]:
    """Return round numbers from below the smallest value to above the largest."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    # Ticks between values that differ by rounding alone could not be told apart.
    spread = high - low if high - low > 1e-9 * size else size
    rough = (spread or 1.0) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    # Multiples of a round step are round only after rounding.
    places = max(0, 1 - math.floor(math.log10(step)))
    return [round(step * n, places) for n in range(first, max(last, first + 1) + 1)]


def _training(candidate: Candidate) -> tuple[float, str] | None:
    if not candidate.train_scores:
        return None
    score, count = candidate.train_score, len(candidate.train_scores)
    return score, f"{percent(score)} on {count} training examples"


def _validation(candidate: Candidate) -> tuple[float, str] | None:
    score = candidate.validation_score
    return None if score is None else (score, f"{percent(score)} on the validation examples")


def _loss(candidate: Candidate) -> tuple[float, str] | None:
    loss = candidate.train_loss
    return None if loss is None else (loss, f"loss {short(loss)}")
