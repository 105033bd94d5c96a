"""The search as a chart: what was tried, how it scored, what was held.

Places go from left to right in the order in which instructions were tried. What is needed to draw
is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean

from dspy_greater.record import Candidate, Record
from dspy_greater.report.text import percent

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
        name: ``"training score"`` or ``"validation score"``.
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
    """Scores over the search.

    Attributes:
        series: What is drawn.
        size: Instructions tried.
        steps: The middle of each step, with its number.
    """

    series: list[Series]
    size: int
    steps: list[tuple[float, int]]

    def left(self, place: float) -> float:
        """Return a place in percent of the width."""
        return 100 * (place + 0.5) / self.size

    def top(self, value: float) -> float:
        """Return a score in percent of the height, from above."""
        return 100 * (1 - value)

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


def predictors(record: Record) -> list[str]:
    """Return the predictors of a record in order, also one whose search was broken off."""
    judged = [outcome.predictor for outcome in record.outcomes]
    return list(dict.fromkeys([*judged, *(c.predictor for c in record.candidates)]))


def panel(record: Record, predictor: str) -> Panel | None:
    """Return the scores of what was tried for a predictor; None where nothing was."""
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
    shown = [each for each in scores if each.dots]
    return Panel(shown, len(tried), steps) if shown else None


def about(candidate: Candidate) -> str:
    """Say where an instruction comes from, what became of it, and how it reads."""
    fate = "accepted" if candidate.accepted else "refused"
    return f"step {candidate.step}, {candidate.kind}, {fate}: {candidate.instruction}"


def _training(candidate: Candidate) -> tuple[float, str] | None:
    if not candidate.train_scores:
        return None
    score, count = candidate.train_score, len(candidate.train_scores)
    return score, f"{percent(score)} on {count} training examples"


def _validation(candidate: Candidate) -> tuple[float, str] | None:
    score = candidate.validation_score
    return None if score is None else (score, f"{percent(score)} on the validation examples")
