"""Who has spent what, saved and taken up again."""

from __future__ import annotations

import copy
import json
import threading
import time
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dspy_greater.cost import PHASES, SETUP, Counts, Meter, Spent, Usage

STEP = 10.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_everything_is_charged_to_whose_turn_it_is(clock: list[float]) -> None:
    meter = Meter()
    meter.book_run({})
    clock[0] += STEP
    meter.turn("first")
    meter.book(Counts(tokens_forward=30))
    clock[0] += 2 * STEP
    meter.turn("second")
    meter.book_run({})
    meter.book_run({}, parse_failed=True)
    meter.turn("first")
    meter.book(Counts(tokens_decoded=5))
    clock[0] += STEP
    assert meter.total() == Spent(3, 35, 4 * STEP)
    assert meter.spent == {
        SETUP: Spent(1, 0, STEP),
        "first": Spent(0, 35, 3 * STEP),
        "second": Spent(2, 0, 0.0),
    }
    assert meter.total("first") == Spent(3, 0, STEP)
    assert (meter.parse_failures, meter.errors, meter.hopeless) == (1, {}, False)


def test_where_every_run_failed_there_is_no_hope() -> None:
    meter = Meter()
    meter.book_run({}, parse_failed=True)
    meter.book_run({}, error="KeyError")
    meter.book_run({}, error="KeyError")
    assert (meter.errors, meter.hopeless) == ({"KeyError": 2}, True)
    meter.book_run({})
    assert not meter.hopeless


def test_a_target_is_on_record_and_its_tokens_are_nobodys() -> None:
    meter, usage = Meter(), {"far": Usage(2, 30, 4)}
    meter.turn("first")
    meter.book_run(usage)
    meter.book_run(usage)
    meter.book_run({})  # on the white box, which counts its own work
    assert meter.target == {"far": Usage(4, 60, 8)}
    assert (meter.total().metric_calls, meter.total().tokens) == (3, 0)


def test_time_is_in_its_phases_or_in_none(clock: list[float]) -> None:
    meter = Meter()
    with meter.phase("generate"), meter.phase("metric"):
        clock[0] += STEP
    clock[0] += 2 * STEP
    expected = {**dict.fromkeys(PHASES, 0.0), "generate": STEP, "metric": STEP}
    assert meter.seconds_by_phase() == {**expected, "other": 2 * STEP}


COUNTS = st.builds(Counts, *[st.integers(0, 9)] * 9)
#: What may happen to a meter: a turn, work, a run, time in a phase, or a new process.
HAPPENING = st.one_of(
    st.tuples(st.just("turn"), st.sampled_from(["first", "second", SETUP])),
    st.tuples(st.just("work"), COUNTS),
    st.tuples(st.just("run"), st.sampled_from(["", "target", "failed"])),
    st.tuples(st.just("phase"), st.sampled_from(PHASES)),
    st.tuples(st.just("pass"), st.just(None)),
)


def happen(meter: Meter, clock: list[float], kind: str, what: object) -> None:
    if kind == "turn":
        meter.turn(str(what))
    elif kind == "work":
        assert isinstance(what, Counts)
        meter.book(what)
    elif kind == "run":
        usage = {"far": Usage(1, 2, 3)} if what == "target" else {}
        error = "KeyError" if what == "failed" else ""
        meter.book_run(usage, parse_failed=what == "", error=error)
    elif kind == "phase":
        with meter.phase(str(what)):
            clock[0] += STEP
    clock[0] += STEP


@given(before=st.lists(HAPPENING, max_size=8), after=st.lists(HAPPENING, max_size=8))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_that_was_saved_goes_on_where_it_was(
    before: list[tuple[str, object]], after: list[tuple[str, object]], clock: list[float]
) -> None:
    clock[0] = 0.0
    whole = Meter()
    for each in before:
        happen(whole, clock, *each)
    saved = json.dumps(whole.dump())
    resumed = Meter.load(json.loads(saved))
    assert json.dumps(resumed.dump()) == saved
    # Each process takes its turn before it goes on.
    began = clock[0]
    for meter in (whole, resumed):
        clock[0] = began
        meter.turn("third")
        for each in after:
            happen(meter, clock, *each)
        meter.total()
    assert resumed.dump() == whole.dump()
    assert resumed.total() == whole.total()
    assert resumed.seconds_by_phase() == whole.seconds_by_phase()
    assert whole.total().seconds == clock[0]


def test_what_is_not_saved_yet_is_saved_with_the_time_until_now(clock: list[float]) -> None:
    meter = Meter()
    meter.turn("first")
    clock[0] += STEP
    assert meter.dump()["spent"]["first"]["seconds"] == STEP
    clock[0] += STEP
    assert meter.dump()["spent"]["first"]["seconds"] == 2 * STEP


def test_the_time_between_two_processes_is_nobodys(clock: list[float]) -> None:
    meter = Meter()
    clock[0] += STEP
    saved = meter.dump()
    clock[0] += 100 * STEP
    assert Meter.load(saved).total().seconds == STEP


def test_nothing_is_lost_between_threads() -> None:
    meter = Meter()
    meter.turn("first")

    def work() -> None:
        for _ in range(500):
            meter.book(Counts(rollouts=1, tokens_forward=2))
            meter.book_run({"far": Usage(1, 1, 1)})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.counts == Counts(rollouts=2000, tokens_forward=4000)
    assert meter.target == {"far": Usage(2000, 2000, 2000)}
    assert meter.spent["first"].metric_calls == 2000
    assert meter.spent["first"].tokens == 4000


def test_a_copy_of_the_settings_that_hold_it_spends_on_the_same_meter() -> None:
    meter = Meter()
    assert copy.deepcopy({"meter": meter})["meter"] is meter
    assert asdict(meter.total()).keys() == {"metric_calls", "tokens", "seconds"}
