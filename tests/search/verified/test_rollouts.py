"""How many rollouts are made, and how many of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from dspy_greater.model import Targeted
from dspy_greater.program import Run
from dspy_greater.search import Program, VerifiedConfig
from dspy_greater.search.verified.rollouts import RolloutBuffer
from tests.support.fakes import FakeRunner, FakeView, board_of, run_of, toy

PROGRAM = toy("count the items")


@dataclass
class Luck(FakeRunner):
    """Of a program's runs, stated shares are always right."""

    size: int = 8
    right: float = 1.0
    greedily_right: float = 0.0

    def one(self, program: Program, example: int) -> Run:
        return run_of(example, float(example < self.greedily_right * self.size))

    def by_luck(self, program: Program, example: int, seed: int) -> Run:
        return run_of(example, float(example < self.right * self.size))


def buffer(runner: FakeRunner, view: FakeView | None = None, **settings: Any) -> RolloutBuffer:
    config = VerifiedConfig(**{"rollouts": 4, "terms": 6, **settings})
    view = view or FakeView(size=runner.size)
    return RolloutBuffer(board_of(runner), view, config, range(runner.size), "seed")


@pytest.mark.parametrize(
    ("right", "samples"), [(1.0, [1]), (0.5, [1, 1]), (0.25, [1, 1, 2]), (0.0, [1, 1, 2])]
)
def test_rollouts_are_made_until_enough_succeed(right: float, samples: list[int]) -> None:
    runner = Luck(right=right)
    buffer(runner).terms(PROGRAM)
    assert runner.sampled == samples


@pytest.mark.parametrize(("greedily_right", "samples"), [(1.0, []), (0.5, [1]), (0.25, [1, 1])])
def test_greedy_runs_count_and_are_not_made_again(
    greedily_right: float, samples: list[int]
) -> None:
    runner = Luck(right=0.25, greedily_right=greedily_right)
    known = buffer(runner)
    known.board.train([PROGRAM], range(8))
    assert len(known.terms(PROGRAM)) == 6
    assert runner.sampled == samples
    assert runner.ran == [PROGRAM]


def test_greedy_runs_are_made_again_where_only_their_scores_are_known() -> None:
    runner = Luck(greedily_right=1.0)
    known = buffer(runner)
    known.board.scores.training[PROGRAM] = dict.fromkeys(range(8), 1.0)
    assert len(known.terms(PROGRAM)) == 6
    assert runner.ran == [PROGRAM]


def test_terms_of_different_examples_stand_for_all() -> None:
    terms = buffer(Luck(greedily_right=1.0)).terms(PROGRAM)
    assert len({term.item.ids for term in terms}) == len(terms) == 6
    assert sum(term.weight for term in terms) == pytest.approx(1.0)


class Looping(FakeView):
    """A predictor that is called three times in every run."""

    def completions(self, instruction: str, runs: Sequence[Run]) -> list[list[Targeted]]:
        return [3 * items for items in super().completions(instruction, runs)]


@pytest.mark.parametrize("right", [1.0, 0.5, 0.25])
def test_a_run_counts_once_however_often_it_calls_the_predictor(right: float) -> None:
    once, often = Luck(right=right), Luck(right=right)
    single = buffer(once).terms(PROGRAM)
    several = buffer(often, Looping(size=8)).terms(PROGRAM)
    assert often.sampled == once.sampled
    assert [(t.item, t.weight) for t in several] == [
        (t.item, t.weight) for t in single for _ in range(3)
    ]


def test_a_current_program_is_sampled_once() -> None:
    runner = Luck()
    known = buffer(runner)
    assert known.terms(PROGRAM) is known.terms(PROGRAM)
    known.solved(PROGRAM)
    assert runner.sampled == [1]
    known.terms(toy("read the answer"))
    assert runner.sampled == [1, 1]


def test_the_same_instruction_in_another_program_is_another_program() -> None:
    runner = Luck()
    known = buffer(runner)
    for other in ("guess", "count"):
        known.terms(toy("count the items", other=other))
    assert runner.sampled == [1, 1]


def test_the_gold_answer_stands_in_where_no_rollout_is_rewarded() -> None:
    known = buffer(Luck(right=0.0))
    assert known.terms(PROGRAM)
    assert known.stands_in
    assert not known.solved(PROGRAM)
