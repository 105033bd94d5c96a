"""How much of a compile the verdict should take, simulated with the package's own sizes."""

from __future__ import annotations

import argparse
from statistics import mean

from examples.benchmarks import shares


def test_a_verdict_on_fewer_examples_gains_more_where_few_runs_are_paid_for() -> None:
    few, all_of_them = (
        mean(shares.simulate(340, validation, spread=10, ahead=0, times=200))
        for validation in (68, 100)
    )
    assert few > all_of_them > 2


def test_where_all_instructions_are_alike_nothing_is_gained() -> None:
    gains = shares.simulate(340, 68, spread=0, ahead=0, times=200)
    assert abs(mean(gains)) < 1


def test_a_start_that_is_better_than_all_is_kept_most_of_the_time() -> None:
    gains = shares.simulate(500, 100, spread=3, ahead=6, times=100)
    assert gains.count(0.0) > 90


def test_what_leaves_no_race_is_said_in_the_table() -> None:
    parser = argparse.ArgumentParser()
    shares.arguments(parser)
    table = shares.run(parser.parse_args(["--runs", "260", "--times", "20"]))
    assert "| 260 |" in table
    assert "no race" in table
