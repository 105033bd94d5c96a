"""Which failed runs make good worked examples."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from examples.benchmarks import worked
from examples.quickstart import SMALL_MODEL


def test_the_table_says_what_examples_of_each_kind_are_worth() -> None:
    def case(kind: str, number: int, scores: list[float]) -> dict[str, object]:
        return {"task": "dates", "kind": kind, "number": number, "solved": 1, "scores": scores}

    told = worked.table(
        [
            case("likely", 0, [1.0, 1.0, 0.0, 1.0]),
            case("likely", 1, [1.0, 0.0, 0.0, 1.0]),
            case("chance", 0, [0.0, 0.0, 0.0, 1.0]),
            case("chance", 1, [0.0, 0.0, 0.0, 0.0]),
            case("right", 0, [1.0, 0.0, 0.0, 0.0]),
            case("right", 1, []),
        ]
    )
    assert "| dates | 1 | 75% and 50% | 25% and 0% | 25% |" in told
    assert "likely - chance: +50.0 points (" in told


def test_it_runs_on_a_model_and_what_is_kept_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    worked.arguments(parser)
    out = tmp_path / "out"
    given = ["--model", str(SMALL_MODEL), "--tasks", "prices", "--each", "1", "--questions", "4"]
    options = parser.parse_args([*given, "--max-tokens", "48", "--out", str(out)])
    table = worked.run(options)
    assert "prices" in table
    assert len(out.read_text().splitlines()) == len(worked.KINDS)
    monkeypatch.setattr(worked, "local_lm", None)
    assert worked.run(options) == table
