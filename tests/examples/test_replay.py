"""Rules of choosing, on matrices whose truth is known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest

from examples.benchmarks import replay
from examples.benchmarks.drawing import alike, simulated
from examples.benchmarks.matrix import spread


def drawn(chances: list[float], questions: int = 200) -> replay.Scores:
    """Scores of instructions that are right with some chance; the first is the program's own."""
    rng = np.random.default_rng(1)
    return (rng.random((len(chances), questions)) < np.array(chances)[:, None]).astype(float)


def test_a_clear_gain_is_found_by_every_rule() -> None:
    gains = replay.replay(drawn([0.3, 0.3, 0.9, 0.2]), 40, 40, 20)
    for rule, found in gains.items():
        assert mean(found) > 40, rule
        assert mean(found) <= mean(gains["oracle"])


def test_where_nothing_is_better_the_maximum_is_chosen_by_luck_and_ours_mostly_keeps() -> None:
    gains = replay.replay(drawn([0.5] * 10), 20, 20, 50)
    assert any(gains["validation maximum"])
    kept = {rule: sum(not gain for gain in found) for rule, found in gains.items()}
    assert min(kept["strict"], kept["earlier"]) >= 45
    assert kept["likely"] >= 35
    assert kept["likely"] >= kept["this project's"] >= kept["any gain"] > 0
    assert mean(gains["oracle"]) > 5  # the luck of so few questions


def test_equal_scores_keep_the_program() -> None:
    same = np.repeat(drawn([0.5], 60), 4, axis=0)
    assert not any(gain for gains in replay.replay(same, 20, 20, 5).values() for gain in gains)


def test_it_says_so_when_no_question_is_left() -> None:
    with pytest.raises(SystemExit, match="60 questions leave none held out"):
        replay.replay(drawn([0.5], 60), 30, 30, 1)


def test_a_simulated_task_is_like_the_one_that_it_was_fitted_to() -> None:
    rng = np.random.default_rng(2)
    hard = rng.random(400) < 0.3  # questions that nobody gets right
    chances = np.linspace(0.4, 0.8, 12)
    scores = (rng.random((12, 400)) < chances[:, None]) * ~hard
    drawn_again = [simulated()(scores, 400, 400, np.random.default_rng(n)) for n in range(30)]
    train = np.array([drawing.train for drawing in drawn_again])
    assert train.mean() == pytest.approx(scores.mean(), abs=0.05)
    assert mean(map(spread, train)) == pytest.approx(spread(scores), rel=0.25)
    assert mean(map(alike, train)) == pytest.approx(alike(scores), abs=0.1)
    # The program's own is what it was, and what is drawn says what each is worth.
    own = [drawing.worth[0] for drawing in drawn_again]
    assert own == pytest.approx([scores[0].mean()] * 30, abs=0.03)
    told = np.concatenate([d.validation.mean(axis=1) - d.worth for d in drawn_again])
    assert abs(told.mean()) < 0.02


def test_a_start_may_be_put_ahead_of_the_others() -> None:
    scores = drawn([0.3, 0.4, 0.5, 0.6, 0.7])
    drawing = simulated(ahead=1.5)(scores, 10, 10, np.random.default_rng(0))
    assert drawing.worth[0] == pytest.approx(scores.mean() + 1.5 * spread(scores))


def test_instructions_that_differ_in_nothing_but_luck_are_simulated_as_equals() -> None:
    scores = drawn([0.5] * 10, 60)
    drawing = simulated()(scores, 10, 10, np.random.default_rng(0))
    assert np.ptp(drawing.worth) < 0.08


def test_a_file_is_replayed_task_by_task(tmp_path: Path) -> None:
    path = tmp_path / "matrix.jsonl"
    lines = []
    for task in ("one", "two"):
        for source, row in zip(("library", "default"), drawn([0.9, 0.3], 60).tolist(), strict=True):
            sides = {"training_score": row[:30], "held_out_score": row[30:]}
            lines.append(json.dumps({"model": "m", "task": task, "source": source, **sides}))
    path.write_text("\n".join(lines))
    parser = argparse.ArgumentParser()
    replay.arguments(parser)
    table = replay.run(parser.parse_args(["--scores", str(path), "--splits", "10"])).splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in table[2:]] == [*replay.RULES, "oracle"]
    assert table[0].count("2 tasks with room") == table[0].count("0 tasks without") == 1
    for examples in ("again", "simulated"):
        arguments = f"--scores {path} --examples {examples} --train 90 --splits 5".split()
        assert replay.run(parser.parse_args(arguments)) != "\n".join(table)
