"""Orders of questions in a race, on matrices whose truth is known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from examples.benchmarks import orders


def matrix(telling: int, questions: int = 60, instructions: int = 17) -> np.ndarray:
    """All get the same questions right, but for a few telling ones, of which each gets its own."""
    rng = np.random.default_rng(0)
    scores = np.repeat((rng.random(questions) < 0.5)[None], instructions, axis=0).astype(float)
    scores[:, :telling] = rng.random((instructions, telling)) < 0.5
    return scores


def test_the_best_wins_more_often_where_few_questions_tell() -> None:
    chance, differing = orders.wins(matrix(telling=12), train=60, splits=60)
    assert differing > chance + 0.1


def test_no_order_helps_where_all_questions_tell_alike() -> None:
    chance, differing = orders.wins(matrix(telling=60), train=60, splits=100)
    assert abs(differing - chance) < 0.15


def test_tasks_on_which_instructions_do_not_differ_are_left_out(tmp_path: Path) -> None:
    path, lines = tmp_path / "matrix.jsonl", []
    for task, scores in (("differs", matrix(12)), ("same", matrix(0))):
        for row, source in zip(scores.tolist(), ["default"] + ["library"] * 16, strict=True):
            sides = {"training_score": row[:30], "held_out_score": row[30:]}
            lines.append(json.dumps({"model": "m", "task": task, "source": source, **sides}))
    path.write_text("\n".join(lines))
    parser = argparse.ArgumentParser()
    orders.arguments(parser)
    table = orders.run(parser.parse_args(["--scores", str(path), "--splits", "20"]))
    assert "best wins, % (1 tasks)" in table
