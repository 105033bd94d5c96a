"""Ranking candidates: gradient over the one-hot plus the candidate's own likelihood."""

from __future__ import annotations

import random

import pytest
import torch

from examples.published_schedule import AnswerObjective, Trial, propose
from tests.support.fakes import BASE, WORDS, FakeModel, FakeRunner, FakeView, toy


def words(*names: str) -> list[int]:
    return [WORDS.index(name) for name in names]


def rank(objective: AnswerObjective, view: FakeView, candidates: list[int]) -> list[str]:
    instruction = "read the answer ."
    (runs,) = FakeRunner(view.size).run({toy(instruction): view.examples})
    slope = objective.slope(view, instruction, runs)
    log_probs = view.model.next_log_probs([[]] * view.size)
    return [WORDS[i] for i in objective.rank(view, slope, 1, log_probs, candidates)]


def try_out(objective: AnswerObjective, view: FakeView, texts: list[str]) -> list[Trial]:
    runs = FakeRunner(view.size).run({toy(text): view.examples for text in texts})
    return objective.try_out(view, texts, runs)


def test_candidates_are_ranked_by_descending_promise() -> None:
    candidates = words("guess", "count", "slowly", "items", "quickly")
    ranked = rank(AnswerObjective(fluency_weight=0.0), FakeView(), candidates)
    assert ranked == ["count", "items", "slowly", "quickly", "guess"]


def test_the_candidates_own_likelihood_breaks_equal_gradients() -> None:
    view = FakeView(FakeModel(likely=("slowly",)))
    candidates = words("the", "slowly", "answer")
    assert rank(AnswerObjective(fluency_weight=0.5), view, candidates)[0] == "slowly"
    assert rank(AnswerObjective(fluency_weight=0.0), view, candidates)[0] == "the"


def test_a_trial_is_cross_entropy_plus_weighted_nll() -> None:
    view = FakeView()
    nll = -float(view.model.word_log_probs()[words("count", "the")].mean())
    (trial,) = try_out(AnswerObjective(fluency_weight=0.3), view, ["count the"])
    assert trial.losses[0] == pytest.approx(BASE - 2.0 + 0.3 * nll, rel=1e-5)
    assert len(trial.losses) == len(trial.runs) == view.size


def test_instructions_tried_together_score_as_if_tried_alone() -> None:
    objective, texts = AnswerObjective(), ["count the", "guess", "read items slowly ."]
    together = try_out(objective, FakeView(), texts)
    alone = [try_out(objective, FakeView(), [text])[0] for text in texts]
    assert [trial.losses for trial in together] == [trial.losses for trial in alone]


def test_two_trials_are_compared_on_the_examples_finite_in_both() -> None:
    objective = AnswerObjective(fluency_weight=0.0)
    (whole,) = try_out(objective, FakeView(), ["count"])
    (holed,) = try_out(objective, FakeView(FakeModel(nan_examples=frozenset({0}))), ["count"])
    assert holed.skipped == 1
    assert holed.loss != whole.loss
    assert holed.gain_over(whole) == pytest.approx(0.0)


def test_proposals_are_shared_by_the_sampled_inputs_and_likeliest_first() -> None:
    log_probs = torch.log_softmax(
        torch.tensor([[5.0, 4.0, 0.0, 3.0, -9.0], [4.0, 5.0, 3.0, 0.0, -9.0]]), dim=-1
    )
    allowed = torch.tensor([True, True, True, True, False])
    knobs = {"inputs": 2, "intersections": 1}
    both = propose(log_probs, allowed, random.Random(0), top_k=3, at_least=1, **knobs)
    assert set(both) == {0, 1}
    widened = propose(log_probs, allowed, random.Random(0), top_k=3, at_least=3, **knobs)
    assert set(widened) == {0, 1, 2, 3}  # k doubled, and what is not allowed never comes in
    assert both[0] in (0, 1)


def test_more_intersections_bring_more_proposals() -> None:
    log_probs = torch.randn(12, 50, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    allowed = torch.ones(50, dtype=torch.bool)

    def count(intersections: int) -> int:
        rng = random.Random(0)
        knobs = {"top_k": 10, "inputs": 3, "at_least": 4}
        return len(propose(log_probs, allowed, rng, intersections=intersections, **knobs))

    assert count(1) >= 4
    assert count(6) > count(1)
