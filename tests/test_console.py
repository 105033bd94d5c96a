"""What a compile puts on the console: estimate, progress, summary, each warning once."""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from pathlib import Path

import dspy
import pytest

from dspy_greater import GreaterTeleprompter
from dspy_greater.basics.overheard import overheard
from dspy_greater.record import Record
from examples.published_schedule import PaperConfig
from tests.support.compiling import configured, examples, lm, small, student
from tests.support.composing import Contrary, sums, worth

__all__ = ["configured", "lm", "student"]


@pytest.fixture
def dspy_on_stderr() -> logging.Handler:
    """DSPy's handler, writing to what the test captures."""
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger("dspy").addHandler(handler)
    yield handler
    logging.getLogger("dspy").removeHandler(handler)


def test_warnings_of_libraries_are_counted_and_errors_pass(
    dspy_on_stderr: logging.Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: Counter[str] = Counter()
    with overheard(lambda text: heard.update([text]), lambda: True):
        for _ in range(3):
            logging.getLogger("dspy.clients.lm").warning("LM response was %s.", "truncated")
        logging.getLogger("dspy.clients.lm").error("It broke.")
        logging.getLogger("mine").warning("Mine stays.")
        warnings.warn("Old.", UserWarning, stacklevel=1)
    assert heard == {
        "dspy: LM response was truncated.": 3,
        "UserWarning: Old.": 1,
    }
    logging.getLogger("dspy.clients.lm").warning("Heard again.")
    told = capsys.readouterr().err
    assert "truncated" not in told
    assert "It broke." in told
    assert "Heard again." in told


def test_another_thread_s_truncated_answers_are_its_own(
    dspy_on_stderr: logging.Handler, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    with overheard(heard.append, lambda: False):
        logging.getLogger("dspy.clients.lm").warning("LM response was truncated.")
    assert not heard
    assert "truncated" in capsys.readouterr().err


def test_what_was_heard_is_told_once() -> None:
    record = Record(counts={"rollouts": 200})
    for text in ["dspy: LM response was truncated; increase it."] * 82 + ["torch: slow"] * 2:
        record.hear(text)
    record.hear("a: b")
    assert record.summary().splitlines() == [
        "82 of 200 answers (41.0%) ended at max_tokens: give the LM more, "
        "local_lm(..., max_tokens=...), or let the instruction ask for short answers",
        "torch: slow (2 times)",
        "a: b",
    ]
    for n in range(4):
        record.hear(f"torch: {n}")
    assert record.summary().endswith("\n3 more warnings are in detailed_results.warnings")


def test_off_a_terminal_a_compile_writes_a_line_a_step_and_what_came_of_it(
    student: dspy.Module,
    tmp_path: Path,
    dspy_on_stderr: logging.Handler,
    capsys: pytest.CaptureFixture[str],
) -> None:
    optimizer = small(progress=True, log_dir=tmp_path, confidence=0.8)
    compiled = optimizer.compile(student, trainset=examples())
    lines = capsys.readouterr().err.splitlines()
    record = compiled.detailed_results
    assert str(record) == record.summary()
    assert lines[-len(record.summary().splitlines()) :] == record.summary().splitlines()
    assert lines[0].endswith("in float32 on cpu)")
    steps = [line for line in lines if line.startswith("predict: step ")]
    assert len(steps) == record.outcomes[0].steps
    assert record.truncated > 0  # a random model ends no answer
    assert sum("truncated" in line for line in lines) == 0
    assert sum("ended at max_tokens" in line for line in lines) == 1
    assert lines[1].startswith("0 of 4 answers could be read")  # nor a field
    assert lines[2].startswith("2 of 2 validation examples are left to gain on, too few to prove")
    assert len(lines) == 3 + len(steps) + len(record.summary().splitlines())
    assert lines[-1].endswith(f"every step is in {tmp_path}")


@pytest.mark.parametrize("knobs", [{}, {"progress": True}], ids=["by default", "asked for"])
def test_an_improved_compile_ends_with_what_it_found(
    knobs: dict[str, bool], lm: dspy.LM, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Contrary()
    config = PaperConfig(max_steps=4, shortlist_size=2)
    optimizer = GreaterTeleprompter(worth, schedule=config, confidence=0.5, **knobs)
    compiled = optimizer.compile(program, trainset=sums(4), valset=sums(6, start=10))
    record = compiled.detailed_results
    assert record.improved
    told = capsys.readouterr().err
    assert told.endswith(f"{record}\n")
    first, after = record.outcomes[0], record.outcomes[0].after
    assert f"{first.score_before:.1%} -> {first.score_after:.1%}" in str(record)
    for part in ("95 % interval", repr(after), " tokens in ", '.report("run.html")'):
        assert part in str(record)
    assert len(str(record).splitlines()) <= 8


def test_without_progress_the_console_stays_empty(
    student: dspy.Module, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    small(progress=False).compile(student, trainset=examples())
    assert capsys.readouterr().err == ""
    assert ": at most" not in caplog.text  # what it may cost is for those who watch
