"""Calls of the white box done by several processes together."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspy_greater.model import LoadingError, WhiteBox, load
from dspy_greater.model.team import Team, divided
from tests.processes import Ended, launch
from tests.support.tiny import make_model, make_tokenizer
from tests.support.white_boxes import random_items


@given(st.lists(st.integers(1, 500), max_size=40), st.integers(1, 9))
def test_rows_are_divided_into_stretches_of_about_equal_size(sizes: list[int], parts: int) -> None:
    stretches = divided(sizes, parts)
    assert len(stretches) == parts
    assert [row for stretch in stretches for row in stretch] == list(range(len(sizes)))
    most = sum(sizes) / parts + max(sizes, default=0)
    assert all(sum(sizes[row] for row in stretch) <= most for stretch in stretches)


@pytest.fixture(scope="module")
def two_processes() -> list[Ended]:
    return launch("tests.scripts.calls")


def test_two_processes_give_what_one_gives(two_processes: list[Ended]) -> None:
    leader, follower = two_processes
    assert leader.code == follower.code == 0, leader.printed + follower.printed
    assert leader.found == follower.found
    # Calls of no, one, two and seven rows; with one, a process has nothing to do.
    assert leader.found["differences"].keys() == {"0", "1", "2", "7"}
    assert max(leader.found["differences"].values()) < 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the names of threads")
def test_no_thread_of_a_team_outlives_it(two_processes: list[Ended]) -> None:
    """One that let go of its last message while Python ends would abort the process."""
    assert all(each.found["threads ended"] for each in two_processes)


def test_a_model_whose_parts_lie_in_two_processes_gives_what_a_whole_one_gives(
    tmp_path: Path,
) -> None:
    tokenizer = make_tokenizer()
    make_model("llama", len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    leader, follower = launch("tests.scripts.calls", str(tmp_path))
    assert leader.code == follower.code == 0, leader.printed + follower.printed
    assert leader.found == follower.found
    assert leader.found["same fingerprint"]
    assert max(leader.found["differences"].values()) < 1e-6


def test_a_process_alone_is_a_team_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with Team() as team:
        assert (team.size, team.follows, team.width) == (1, False, 1)
        team.dismiss("nobody waits for this")


def test_several_processes_need_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with pytest.raises(LoadingError, match=r'WORLD_SIZE=2.*pip install "dspy-greater\[scale\]"'):
        Team()


def test_parts_of_a_model_need_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(LoadingError, match="this is one alone: start the script with accelerate"):
        load(tmp_path, tp_plan="auto")


def test_a_model_has_one_place_only(tmp_path: Path) -> None:
    with pytest.raises(LoadingError, match="Give device_map or tp_plan, not both"):
        load(tmp_path, tp_plan="auto", device_map="auto")


def test_the_leader_does_not_wait_for_a_process_that_is_gone() -> None:
    leader, follower = launch("tests.scripts.dies")
    assert follower.code == 9
    assert leader.code == 0, leader.printed
    assert leader.found.startswith("Another of the 2 processes has ended or cannot be reached")


def test_a_result_takes_nothing_else_of_its_batch_along(white_box: WhiteBox) -> None:
    items = random_items(6)
    results = [*white_box.log_probs(items), *(g.log_probs for g in white_box.gradients(items))]
    for tensor in results:
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
