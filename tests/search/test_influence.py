"""Where the gold answers pull at an instruction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from dspy_greater.search import gradient_norms
from tests.support.fakes import FakeModel, FakeRunner, FakeView, toy, weights

INSTRUCTION = "read the items"


def norms_of(view: FakeView, examples: Sequence[int]) -> dict[int, list[float]]:
    (runs,) = FakeRunner().run([toy(INSTRUCTION)], examples)
    return gradient_norms(view, INSTRUCTION, runs, examples)


def test_each_token_of_each_example_has_the_norm_of_its_gradient() -> None:
    norms = norms_of(FakeView(), range(3))
    assert list(norms) == [0, 1, 2]
    for example, row in norms.items():
        # In the toy world every position has the example's weights as gradient.
        assert row == pytest.approx([float(weights(example).norm())] * 3, rel=1e-3)


def test_examples_without_a_finite_loss_or_gradient_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = FakeView(FakeModel(nan_examples=frozenset({2})))
    assert list(norms_of(view, range(4))) == [0, 1, 3]
    gradients = FakeModel.gradients

    def second_is_broken(self: FakeModel, items: Any, **settings: Any) -> Any:
        first, second, *rest = gradients(self, items, **settings)
        return [first, replace(second, positions=second.positions * torch.inf), *rest]

    monkeypatch.setattr(FakeModel, "gradients", second_is_broken)
    assert list(norms_of(FakeView(), [2, 4, 5])) == [2, 5]


def test_examples_that_cannot_be_rendered_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = FakeView.answers

    def first_is_missing(self: FakeView, *given: Any) -> Any:
        return [None, *answers(self, *given)[1:]]

    monkeypatch.setattr(FakeView, "answers", first_is_missing)
    assert list(norms_of(FakeView(), [0, 1])) == [1]
