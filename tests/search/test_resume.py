"""A schedule taken up after any step goes on as if it had not been interrupted."""

from __future__ import annotations

import json

import pytest

from dspy_greater.search import Judge, PaperConfig, Schedule, VerifiedConfig, schedule_for
from tests.support.fakes import FakeView

CONFIGS = {
    "paper": PaperConfig(max_steps=6, top_k=10),
    "verified": VerifiedConfig(
        max_steps=4, starts=0, phrases=2, exact_size=4, race_size=1, multiple=0.5
    ),
}


def fresh(name: str) -> Schedule:
    subject = FakeView(examples=16)
    judge = Judge(lambda text: [run.score for run in subject.roll_out([text])[0]])
    return schedule_for(
        CONFIGS[name],
        subject,
        judge,
        start="guess quickly guess the answer",
        train_examples=16,
        seed="7",
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_from_every_step_the_rest_is_the_same(name: str) -> None:
    whole, dumps = fresh(name), []
    steps = []
    for step in whole.steps():
        steps.append(step)
        dumps.append(json.loads(json.dumps(whole.dump())))
    assert len(steps) > 2
    for taken, dump in enumerate(dumps, start=1):
        resumed = fresh(name)
        resumed.load(dump)
        rest = list(resumed.steps())
        assert [step.number for step in rest] == [step.number for step in steps[taken:]]
        assert [step.held for step in rest] == [step.held for step in steps[taken:]]
        assert [step.attempts for step in rest] == [step.attempts for step in steps[taken:]]
        assert resumed.stopped == whole.stopped


@pytest.mark.parametrize("name", CONFIGS)
def test_loading_does_not_share_with_what_was_dumped(name: str) -> None:
    one = fresh(name)
    list(one.steps())
    before = json.dumps(one.dump())
    other = fresh(name)
    other.load(one.dump())
    list(other.steps())
    assert json.dumps(one.dump()) == before
