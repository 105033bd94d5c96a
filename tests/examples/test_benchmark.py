"""The benchmarks' bookkeeping and tables, and one small case of the signal report."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from examples.benchmarks import ablation, frontier, gap, served, signal
from examples.benchmarks.common import Cases, bootstrap, starting_points
from examples.quickstart import SMALL_MODEL, load
from examples.small_model.tasks import TASKS


def test_a_finished_case_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    cases = Cases(path, {"model": "a"})
    assert cases.lack(task="arithmetic", seed=0)
    cases.add(task="arithmetic", seed=0, score=0.5)
    assert not cases.lack(task="arithmetic", seed=0)
    assert cases.lack(task="arithmetic", seed=1)
    assert Cases(path, {"model": "b"}).lack(task="arithmetic", seed=0)
    assert cases.read() == [{"model": "a", "task": "arithmetic", "seed": 0, "score": 0.5}]
    assert Cases(tmp_path / "none.jsonl", {}).read() == []


def test_the_interval_holds_the_mean() -> None:
    middle, low, high = bootstrap([0.0, 0.5, 1.0, 0.5])
    assert low < middle == 0.5 < high
    assert bootstrap([0.25]) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("task", TASKS)
def test_no_search_begins_at_the_good_instruction(task: str) -> None:
    points = starting_points(task)
    assert len(set(points.values())) == 4
    assert TASKS[task].good_instruction not in points.values()


def test_a_good_estimate_is_told_from_a_bad_one() -> None:
    effects = [i / 20 for i in range(-10, 10)]
    correlation, precision, gain = signal._quality(effects, effects)
    assert (correlation, precision) == pytest.approx((1.0, 1.0))
    assert gain == pytest.approx(sum(effects[-5:]) / 5)
    assert signal._quality([-e for e in effects], effects)[0] == pytest.approx(-1.0)
    assert signal._quality([1.0] * 20, effects)[0] == 0.0


def test_one_case_of_the_signal_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "TRAIN", 8)
    lm = load(SMALL_MODEL)
    options = argparse.Namespace(edits=6, held_out=8, seed=0)
    measured = signal.Case("letters", starting_points("letters")["weak"], options, lm).measure()
    assert len(measured["effects"]) == 6
    assert all(len(values) == 6 for values in measured["predictions"].values())
    table = signal.table([measured])
    for name in signal.OBJECTIVES:
        assert f"| {name}, exact |" in table


def test_accuracy_is_read_off_at_the_tokens_spent() -> None:
    path = [{"tokens": 0, "accuracy": 0.2}, {"tokens": 500, "accuracy": 0.9}]
    assert [ablation.at(path, tokens) for tokens in (0, 499, 500, 1000)] == [0.2, 0.2, 0.9, 0.9]
    runs = [("exact", path), ("random", path[:1]), ("verified", path), ("paper", path[:1])]
    cases = [{"arm": arm, "path": each, "task": "grid", "seed": 0} for arm, each in runs]
    lines = ablation.table(cases, budget=1000).splitlines()
    assert lines[3] == "| exact | 1 | 20 (20-20) | 20 (20-20) | 90 (90-90) | 90 (90-90) |"
    assert lines[4].startswith("| random | 1 | 20 (20-20) |")
    lines = ablation.by_task(cases, budget=1000).splitlines()
    assert lines[0] == "| task | verified | exact | random | paper | verified - paper |"
    assert lines[2] == "| grid | 90 | 90 | 20 | 20 | +70 |"
    assert ablation.against_baselines(cases, budget=1000).splitlines() == [
        "- verified: at random's final 20% with 0 tokens (1 runs)",
        "- exact: at random's final 20% with 0 tokens (1 runs)",
        "- paper: at random's final 20% with 0 tokens (1 runs)",
        "- verified - paper: +70 points (+70 to +70), +70.0 at least (1 runs)",
        "- verified accepts its first instruction after 500 tokens",
    ]


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    path = [{"tokens": 0, "accuracy": 0.2}, {"tokens": 500, "accuracy": 0.9}]
    ablation.plot([{"arm": "exact", "path": path}], 1000, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_gap_is_closed_as_far_as_the_hand_written_instruction_goes() -> None:
    case = {
        "task": "arithmetic",
        "before": 0.2,
        "after": 0.8,
        "good": 1.0,
        "perplexity": 3.0,
        "seconds": 60.0,
        "tokens": 1000,
    }
    lines = gap.table([case, {**case, "after": 1.0}]).splitlines()
    assert lines[2].startswith("| arithmetic | 20.0 | 90.0 | 100.0 | 88 % (75-100) | +60.0 | 3.0 |")
    assert lines[3].startswith("| **all** |")


def test_the_price_of_fluency_is_told_on_runs_that_all_weights_have(tmp_path: Path) -> None:
    def case(weight: float, task: str, after: float) -> dict[str, Any]:
        return {
            "weight": weight,
            "task": task,
            "seed": 0,
            "after": after,
            "good": 0.9,
            "perplexity": 8.0 if weight == 0 else 4.0,
            "good_perplexity": 2.0,
            "length": 12,
        }

    cases = [case(0, "grid", 0.8), case(0.1, "grid", 0.7), case(0, "letters", 0.1)]
    lines = frontier.table(cases).splitlines()
    assert lines[2] == "| 0 | 1 | 80.0 | +0.0 (+0.0 to +0.0) | 8.0 | 4.00 | 12 |"
    assert lines[3] == "| 0.1 | 1 | 70.0 | -10.0 (-10.0 to -10.0) | 4.0 | 2.00 | 12 |"
    frontier.plot(cases, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_server_s_share_is_of_the_completions_measured_beside_it() -> None:
    def figures(tokens: float) -> dict[str, float]:
        return {"seconds": 1.0, "tokens_per_second": tokens, "completions_per_second": tokens / 50}

    three = served.middle([figures(tokens) for tokens in (900.0, 1000.0, 5000.0)])
    # Servers count a token more to each answer, which is no speed.
    there = {**figures(100.0), "tokens_per_second": 102.0}
    measured = {"one by one": {"in-process": three, "one by one": there}}
    assert served.table(measured).splitlines()[2:] == [
        "| one by one | 1,000 | 102 | 20.0 | 2.0 | 0.10 |"
    ]


def test_a_served_copy_and_the_model_here_are_asked_the_same() -> None:
    lm = load(SMALL_MODEL)
    questions = list(islice(served.prompts(), 3))
    assert len({question.messages for question in questions}) == 3
    figures = served.ask_all(lm, questions)
    assert figures["tokens_per_second"] > figures["completions_per_second"] > 0
