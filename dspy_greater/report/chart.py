"""The search as a chart: instructions from left to right as they were tried, by score."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean

from dspy_greater.record import Record
from dspy_greater.report.text import percent

#: Labels of the horizontal axis that have room on a telephone.
LABELS = 10
#: What may become of an instruction that was tried, in words.
FATES = {"accepted": "accepted", "refused": "refused", "partial": "refused on part of the examples"}


@dataclass(frozen=True)
class Dot:
    """One score of one instruction, of which ``place`` were tried before it.

    ``fate`` is a key of :data:`FATES`, ``label`` says all in words.
    """

    place: int
    value: float
    fate: str
    returned: bool
    label: str


@dataclass(frozen=True)
class Series:
    """One kind of score over the search: ``"training score"`` or ``"validation score"``."""

    name: str
    dots: list[Dot]

    def glyph(self, fate: str) -> str:
        """Return the name of the mark for some of its dots."""
        return f"{'diamond' if self.name == 'validation score' else 'circle'}-{fate}"

    @property
    def fates(self) -> list[str]:
        """What became of its dots, as the legend has to explain."""
        return [fate for fate in FATES if any(dot.fate == fate for dot in self.dots)]


@dataclass(frozen=True)
class Panel:
    """Scores over the search of ``size`` instructions; the middle of each step, with its number."""

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
        kept = self.steps[:1]
        for place, step in self.steps[1:]:
            if LABELS * (place - kept[-1][0]) >= self.size:
                kept.append((place, step))
        return kept

    def stairs(self, series: Series) -> list[tuple[float, float, float, float]]:
        """Return the current instructions' line as pieces ``x1, y1, x2, y2``, in percent."""
        current = [dot for dot in series.dots if dot.fate == "accepted"]
        corners = [(self.left(dot.place), self.top(dot.value)) for dot in current]
        ends = [*corners[1:], (100.0, corners[-1][1])] if corners else []
        pieces = []
        for (x, y), (end, to) in zip(corners, ends, strict=True):
            pieces += [(x, y, end, y), (end, y, end, to)]
        return pieces


def predictors(record: Record) -> list[str]:
    """Return the predictors of a record in order, also one whose search was broken off."""
    judged = [outcome.predictor for outcome in record.outcomes]
    return list(dict.fromkeys([*judged, *(c.predictor for c in record.candidates)]))


def panel(record: Record, predictor: str) -> Panel | None:
    """Return the scores of what was tried for a predictor; None where nothing was."""
    tried = [c for c in record.candidates if c.predictor == predictor]
    after = next((o.after for o in record.outcomes if o.predictor == predictor), None)
    most = max((len(candidate.train_scores) for candidate in tried), default=0)
    training, validation = Series("training score", []), Series("validation score", [])
    places = defaultdict[int, list[int]](list)
    for place, each in enumerate(tried):
        places[each.step].append(place)
        fate = "accepted" if each.accepted else "refused"
        returned = each.instruction == after
        about = f"step {each.step}, {each.kind}, {fate}: {each.instruction}"
        if scores := each.train_scores:
            label = f"{percent(each.train_score)} on {len(scores)} training examples, {about}"
            there = "partial" if fate == "refused" and len(scores) < most else fate
            training.dots.append(Dot(place, each.train_score, there, returned, label))
        if (score := each.validation_score) is not None:
            label = f"{percent(score)} on the validation examples, {about}"
            validation.dots.append(Dot(place, score, fate, returned, label))
    shown = [series for series in (training, validation) if series.dots]
    steps = [(mean(covered), step) for step, covered in places.items()]
    return Panel(shown, len(tried), steps) if shown else None
