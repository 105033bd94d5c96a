"""The figures that the check of a server was made from."""

from __future__ import annotations

import json

import torch

from dspy_greater.model import load
from dspy_greater.running.served import GAP, LOSS
from examples.benchmarks import copies
from examples.benchmarks.common import RESULTS
from examples.quickstart import SMALL_MODEL


def test_the_kept_figures_tell_copies_from_other_weights() -> None:
    kept = json.loads((RESULTS / "copies.json").read_text())

    def passes(name: str) -> int:
        return sum(each["gap"] <= GAP and each["loss"] <= LOSS for each in kept[name].values())

    same = ["fp16", "bf16", "int8, weights alone", "noise of 1 % of a weight's spread"]
    others = ["int4, a scale for each row", "20 batches of further training"]
    assert [passes(name) for name in same] == [6] * 4
    assert [passes(name) for name in others] == [0] * 2


def test_the_model_itself_is_no_distance_away_and_a_rounded_one_is() -> None:
    here = load(SMALL_MODEL, device="cpu")
    prompts = copies.prompts_by_task("letters")
    own = copies.compared(here, here, prompts)
    far = copies.compared(here, copies.changed(copies.rounded), prompts)
    assert max(own.values()) < 1e-4
    assert far["loss"] > LOSS


def test_each_row_is_rounded_to_the_nearest_of_fifteen_steps() -> None:
    weights = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    steps = weights.abs().amax(dim=1, keepdim=True) / 7
    made = copies.rounded(weights)
    assert all(len(row.unique()) <= 15 for row in made)
    assert ((made - weights).abs() <= steps / 2 + 1e-6).all()
