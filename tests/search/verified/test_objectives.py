"""Objectives on cached rollouts: weights, values and first-order gains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from dspy_greater.basics.spans import Span
from dspy_greater.model import Targeted
from dspy_greater.search.verified.estimates import exact, slope, substitutions
from dspy_greater.search.verified.objectives import (
    Rollouts,
    Term,
    answer_likelihood,
    fluency_terms,
    parted,
    runs_in,
    success_likelihood,
    with_tokens,
)
from dspy_greater.search.verified.objectives import sampled as some
from tests.support.fakes import WORDS, FakeModel, FakeRunner, FakeView, toy

START = "read the answer"
ALL = list(range(len(WORDS)))


def sampled(instruction: str = START, count: int = 8) -> Rollouts:
    runner = FakeRunner()
    examples = tuple(range(runner.size))
    rows = runner.sample(toy(instruction), examples, range(count), 1.0)
    runs = [run for row in rows for run in row]
    return Rollouts(instruction, examples * count, tuple(runs), tuple(run.score for run in runs))


def test_the_gradient_points_at_the_words_that_raise_the_expected_metric() -> None:
    view = FakeView()
    terms = success_likelihood(view, sampled(count=60))
    found = slope(view.model, terms)
    assert found is not None
    gains = substitutions(view.model, found.positions, view.tokens(START), ALL)
    best, worst = gains[0].argmax(), gains[0].argmin()
    assert (WORDS[best], WORDS[worst]) == ("count", "guess")


@pytest.mark.parametrize("objective", [answer_likelihood, success_likelihood])
def test_value_and_gradient_come_from_one_pass_and_agree(
    objective: Callable[..., list[Term]],
) -> None:
    view = FakeView()
    terms = objective(view, sampled())
    found = slope(view.model, terms)
    assert found is not None
    assert found.value == pytest.approx(exact(view.model, terms, [view.tokens(START)])[0])


def test_losses_that_are_not_finite_are_left_out_and_counted() -> None:
    view = FakeView(FakeModel(nan_examples=frozenset({0, 1})))
    terms = answer_likelihood(view, sampled(count=1))
    found = slope(view.model, terms)
    assert found is not None
    assert found.skipped == 2
    everything = FakeView(FakeModel(nan_examples=frozenset(range(6))))
    assert slope(everything.model, terms) is None


def test_fluency_prefers_what_the_model_would_write() -> None:
    view = FakeView(FakeModel(likely=("read", "the", "count")))
    terms = fluency_terms(view, START, [0, 1], weight=0.5)
    likely, unlikely = exact(
        view.model, terms, [view.tokens("read the count"), view.tokens("read the guess")]
    )
    assert likely > unlikely
    assert fluency_terms(view, START, [0, 1], weight=0.0) == []


@given(st.lists(st.integers(5, 9), min_size=1, max_size=4), st.booleans())
def test_new_tokens_take_the_instructions_place(tokens: list[int], own: bool) -> None:
    inputs = Span(2, 4)
    item = Targeted((1, 1, 2, 2, 3, 3, 4), targets=inputs if own else Span(5, 7), inputs=inputs)
    moved = with_tokens(item, tokens)
    assert moved.ids == (1, 1, *tokens, 3, 3, 4)
    assert moved.inputs is not None
    assert list(moved.ids[slice(*moved.inputs)]) == tokens
    assert list(moved.ids[slice(*moved.targets)]) == (tokens if own else [3, 4])


def test_substitutions_are_measured_against_the_token_that_stands_there() -> None:
    model = FakeModel()
    gradient = torch.tensor([[float(i) for i in range(len(WORDS))]] * 2)
    gains = substitutions(model, gradient, [3, 5], [3, 4, 5])
    assert gains.tolist() == [[0, 1, 2], [-2, -1, 0]]


def terms_of(prompts: list[int], calls: int) -> list[Term]:
    """Return the terms of runs that began with these prompts, each of several calls."""
    found = []
    for number, prompt in enumerate(prompts):
        items = [Targeted((prompt + 100 * call, number), Span(1, 2)) for call in range(calls)]
        found += [Term(item, 1.0, items[0] if call else None) for call, item in enumerate(items)]
    return found


PROMPTS = st.lists(st.integers(0, 5), max_size=30)


@given(PROMPTS, st.integers(1, 3), st.sampled_from([0.0, 1 / 3, 1.0]))
def test_terms_are_parted_between_prompts(prompts: list[int], calls: int, share: float) -> None:
    terms = terms_of(prompts, calls)
    first, rest = parted(terms, share)
    assert sorted(t.item.ids for t in first + rest) == sorted(t.item.ids for t in terms)
    # A run's later calls go where its first goes.
    assert not {t.item.ids[0] % 100 for t in first} & {t.item.ids[0] % 100 for t in rest}
    assert len(first) >= share * len(terms)
    assert share or not first


@given(PROMPTS.filter(bool), st.integers(1, 3), st.integers(1, 9))
@example([0] * 9 + [1] * 5, 3, 9)  # 9 / 14 * 42 is more than 27
def test_some_runs_stand_for_all_whole_ones_for_whole_ones(
    prompts: list[int], calls: int, count: int
) -> None:
    once, several = (some(terms_of(prompts, each), count) for each in (1, calls))
    assert runs_in(several) == runs_in(once) >= min(count, len(prompts))
    assert len(several) == calls * len(once)
    assert sum(term.weight for term in several) == pytest.approx(calls * len(prompts))
