"""The state of a compile: one plain value that is saved after every step and read back as it is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dspy_greater.cost import Meter
from dspy_greater.record import StepEvent
from dspy_greater.report import DetailedResults
from dspy_greater.search import Attempt, Program, ScheduleConfig, ScheduleState, Scores

logger = logging.getLogger(__name__)

#: Counted up whenever what is saved has another form, within a version too.
FORM = 9


@dataclass
class SearchUnderWay:
    """One predictor's search; why it ``ended``, if it did."""

    state: ScheduleState
    steps: int = 0
    ended: str = ""


@dataclass
class CompileState:
    """All that a compile has to remember from one step to the next.

    ``raced`` says whether the race of whole programs is over; its ``untold`` events come yet.
    """

    start: Program
    current: Program
    scores: Scores = field(default_factory=Scores)
    searches: dict[str, SearchUnderWay] = field(default_factory=dict)
    raced: bool = False
    untold: list[StepEvent] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    record: DetailedResults = field(default_factory=DetailedResults)

    def dump(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        self.record.charge(self.meter)
        return {
            "start": self.start.instructions,
            "current": self.current.instructions,
            "scores": self.scores.dump(),
            "searches": {name: asdict(search) for name, search in self.searches.items()},
            "raced": self.raced,
            "untold": [asdict(event) for event in self.untold],
            "meter": self.meter.dump(),
            "record": self.record.to_dict(),
        }

    @classmethod
    def load(cls, saved: Mapping[str, Any], config: ScheduleConfig) -> CompileState:
        """Return the state that :meth:`dump` was called on; say if it was with other versions."""
        record, now = DetailedResults.from_dict(saved["record"]), DetailedResults().versions
        if others := {name: old for name, old in record.versions.items() if old != now.get(name)}:
            told = "this compile was begun with %s, and goes on with %s"
            logger.warning(told, others, {name: now.get(name) for name in others})
        return cls(
            start=Program.of(saved["start"]),
            current=Program.of(saved["current"]),
            scores=Scores.load(saved["scores"]),
            searches={
                name: SearchUnderWay(**{**each, "state": config.state_type(**each["state"])})
                for name, each in saved["searches"].items()
            },
            raced=saved["raced"],
            untold=[
                StepEvent(**{**event, "attempts": tuple(Attempt(**a) for a in event["attempts"])})
                for event in saved["untold"]
            ],
            meter=Meter.load(saved["meter"]),
            record=record,
        )
