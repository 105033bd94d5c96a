"""A search taken up after any step goes on as if it had not been interrupted."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from dspy_greater.search import (
    Program,
    Schedule,
    ScheduleConfig,
    ScoreBoard,
    Scores,
    VerifiedConfig,
)
from examples.published_schedule import PaperConfig
from tests.support.fakes import NAME, FakeChat, FakeRunner, FakeView, steps_of, toy

CONFIGS: dict[str, ScheduleConfig] = {
    "paper": PaperConfig(max_steps=6, top_k=10),
    "verified": VerifiedConfig(patience=3, max_steps=4, library=False, starts=1, asked=2),
}
START = toy("guess quickly the answer")


class Search:
    """A schedule and the scores that it works with, at the start or as they were saved."""

    def __init__(self, name: str, saved: dict[str, Any] | None = None) -> None:
        config = CONFIGS[name]
        self.scores = Scores.load(saved["scores"]) if saved else Scores()
        board = ScoreBoard(self.scores, FakeRunner(16), 16)
        fields = saved["state"] if saved else {"start": START[NAME]}
        state = config.state_type(**fields)
        self.schedule: Schedule = config.schedule(FakeView(FakeChat(), 16), board, "7", state)
        self.current = Program.of(saved["current"]) if saved else START

    def dump(self, current: Program) -> str:
        return json.dumps(
            {
                "scores": self.scores.dump(),
                "state": asdict(self.schedule.state),
                "current": current.instructions,
            }
        )


@pytest.mark.parametrize("name", CONFIGS)
def test_from_every_step_the_rest_is_the_same(name: str) -> None:
    whole, dumps, steps = Search(name), [], []
    for step in steps_of(whole.schedule, START):
        steps.append(step)
        dumps.append(whole.dump(step.current))
    assert len(steps) > 2
    assert any(step.accepted for step in steps)
    for taken, dump in enumerate(dumps, start=1):
        resumed = Search(name, json.loads(dump))
        assert list(steps_of(resumed.schedule, resumed.current)) == steps[taken:]
        assert resumed.schedule.state.stopped == whole.schedule.state.stopped
        assert resumed.scores == whole.scores


@pytest.mark.parametrize("name", CONFIGS)
def test_loading_does_not_share_with_what_was_dumped(name: str) -> None:
    one = Search(name)
    step = one.schedule.step(START)
    assert step is not None
    before = one.dump(step.current)
    other = Search(name, json.loads(before))
    list(steps_of(other.schedule, other.current))
    assert one.dump(step.current) == before
