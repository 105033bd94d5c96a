"""A compile in several processes ends as in one, and ends everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dspy_greater import local_lm
from examples.quickstart import SMALL_MODEL
from tests.processes import Ended, launch
from tests.small_compile import result_of

CASES = [
    *("other data", "no white box", "metric", "callback", "gradient"),
    *("log_dir", "resumed", "Ctrl-C"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[Ended]:
    both = launch("tests.scripts.compiles", str(folder))
    assert all(each.code == 0 for each in both), "\n".join(each.printed for each in both)
    return both


def errors(both: list[Ended], case: str) -> list[tuple[str, str]]:
    return [(each.found[case]["error"], each.found[case]["message"]) for each in both]


def test_two_processes_end_where_one_ends(both: list[Ended]) -> None:
    lm = local_lm(SMALL_MODEL, max_tokens=40)
    wanted = [result_of(lm, seed) for seed in range(5)]
    for each in both:
        for found, want in zip(each.found["results"], wanted, strict=True):
            assert found["instruction"] == want["instruction"]
            assert found["candidates"] == json.loads(json.dumps(want["candidates"]))
            assert found["scores"] == pytest.approx(want["scores"], abs=1e-5)
    assert any(candidate[1] for want in wanted for candidate in want["candidates"][1:])


@pytest.mark.parametrize("case", CASES)
def test_all_processes_end_with_the_same(both: list[Ended], case: str) -> None:
    leader, follower = (json.dumps(each.found[case]) for each in both)  # NaN is NaN there
    assert leader == follower


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ("other data", "ProcessError", "process 1 of 2 compiles with another trainset"),
        ("no white box", "NotWhiteBoxError", "openai/none does not give access to its weights"),
        ("metric", "TooManyErrorsError", "no score for this"),
        ("callback", "LookupError", "no more of that"),
        ("gradient", "RuntimeError", "this device is broken"),
    ],
)
def test_what_goes_wrong_in_one_process_is_said_by_all(
    both: list[Ended], case: str, error: str, message: str
) -> None:
    for name, text in errors(both, case):
        assert name == error
        assert message in text


def test_one_process_writes_the_log_dir_and_all_take_it_up(both: list[Ended], folder: Path) -> None:
    first, again = (both[0].found[case]["record"] for case in ("log_dir", "resumed"))
    assert again["outcomes"] == first["outcomes"]
    assert again["total_calls"] == first["total_calls"]  # nothing was run again
    assert (folder / "log" / "best_program.json").exists()


def test_after_ctrl_c_all_give_back_what_there_is(both: list[Ended]) -> None:
    assert both[0].found["Ctrl-C"]["stopped"] == ["interrupted"]
