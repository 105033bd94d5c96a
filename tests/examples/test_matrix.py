"""Instructions are written and run on questions; what was run is kept."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.benchmarks import instructions, matrix
from examples.quickstart import SMALL_MODEL


def options(benchmark: Any, *given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    benchmark.arguments(parser)
    return parser.parse_args(["--model", str(SMALL_MODEL), "--tasks", "weekday", *given])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_instructions_come_from_every_source(tmp_path: Path) -> None:
    out = tmp_path / "instructions.jsonl"
    instructions.run(options(instructions, "--out", str(out)))
    found = lines(out)
    assert {"default", "handwritten", "library"} <= {each["source"] for each in found}
    assert len({each["text"] for each in found}) == len(found)
    assert {each["task"] for each in found} == {"weekday"}


def test_a_matrix_is_run_once_and_its_scores_are_kept_without_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out, scores = (tmp_path / name for name in ("listed", "out", "scores"))
    texts = {"default": "Answer.", "handwritten": "Count the days one by one."}
    listed.write_text(
        "".join(
            json.dumps({"task": "weekday", "source": source, "text": text}) + "\n"
            for source, text in texts.items()
        )
    )
    places = ("--instructions", str(listed), "--out", str(out), "--scores", str(scores))
    given = options(matrix, "--questions", "3", *places)
    table = matrix.run(given)
    assert table.count("\n") == 2
    assert "| weekday | 2 |" in table
    assert [len(case["held_out"]) for case in lines(out)] == [3, 3]
    assert [len(case["held_out_score"]) for case in lines(scores)] == [3, 3]
    assert not {"Answer.", "Count the days", "answer"} & set(scores.read_text().split('"'))
    out.unlink()  # The scores alone say what was run.
    monkeypatch.setattr(matrix, "local_lm", None)
    assert matrix.run(given) == table


def test_the_spread_of_instructions_is_what_luck_leaves_unexplained() -> None:
    rng = np.random.default_rng(0)
    worth = rng.normal(0, 0.1, 40)[:, None]
    hard = rng.uniform(0.2, 0.8, 4000)
    luck = rng.random((40, 4000))
    assert matrix.spread((luck < hard).astype(float)) < 0.01
    assert matrix.spread((luck < hard + worth).astype(float)) == pytest.approx(worth.std(), rel=0.2)
    assert matrix.spread(np.ones((5, 30))) == 0
