"""How many rollouts are made, and how many of them count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from dspy_greater.search.verified.evidence import Evidence

from dspy_greater.model import Targeted
from dspy_greater.program import Run
from dspy_greater.search.verified import VerifiedConfig
from dspy_greater.search.verified.race import ScoreBook
from tests.support.fakes import FakeView, run_of


@dataclass
class Luck(FakeView):
    """A subject of which stated shares of examples are always right; counts its samples."""

    right: float = 1.0
    greedily_right: float = 0.0
    samples: list[int] = field(default_factory=list)

    def roll_out(
        self, instructions: Sequence[str], examples: Sequence[int] | None = None, *settings: Any
    ) -> list[list[Run]]:
        self.roll_outs += instructions
        return [self._runs(self._indices(examples), self.greedily_right) for _ in instructions]

    def sample(
        self, instruction: str, examples: Sequence[int], seeds: Sequence[int], *settings: Any
    ) -> list[list[Run]]:
        self.samples.append(len(seeds))
        return [self._runs(examples, self.right) for _ in seeds]

    def _runs(self, examples: Sequence[int], right: float) -> list[Run]:
        return [run_of(e, float(i < right * len(examples))) for i, e in enumerate(examples)]


def evidence(subject: FakeView, **settings: object) -> Evidence:
    config = VerifiedConfig(**{"rollouts": 4, "terms": 6, **settings})  # type: ignore[arg-type]
    return Evidence(ScoreBook(subject, list(range(8))), config, range(8), "seed")


@pytest.mark.parametrize(
    ("right", "samples"), [(1.0, [1]), (0.5, [1, 1]), (0.25, [1, 1, 2]), (0.0, [1, 1, 2])]
)
def test_rollouts_are_made_until_enough_succeed(right: float, samples: list[int]) -> None:
    subject = Luck(examples=8, right=right)
    evidence(subject).terms("count the items")
    assert subject.samples == samples


@pytest.mark.parametrize(("greedily_right", "samples"), [(1.0, []), (0.5, [1]), (0.25, [1, 1])])
def test_greedy_runs_count_and_are_not_made_again(
    greedily_right: float, samples: list[int]
) -> None:
    subject = Luck(examples=8, right=0.25, greedily_right=greedily_right)
    known = evidence(subject)
    known.book.fill(["count the items"], 8)
    assert len(known.terms("count the items")) == 6
    assert subject.samples == samples
    assert subject.roll_outs == ["count the items"]


def test_greedy_runs_are_made_again_where_only_their_scores_are_known() -> None:
    subject = Luck(examples=8, greedily_right=1.0)
    known = evidence(subject)
    known.book.scores["count the items"] = [1.0] * 8
    assert len(known.terms("count the items")) == 6
    assert subject.roll_outs == ["count the items"]


def test_terms_of_different_examples_stand_for_all() -> None:
    subject = Luck(examples=8, greedily_right=1.0)
    terms = evidence(subject).terms("count the items")
    assert len({term.item.ids for term in terms}) == len(terms) == 6
    assert sum(term.weight for term in terms) == pytest.approx(1.0)


class Looping(Luck):
    """A subject whose predictor is called three times in every run."""

    def completions(self, instruction: str, runs: Sequence[Run]) -> list[list[Targeted]]:
        return [3 * items for items in super().completions(instruction, runs)]


@pytest.mark.parametrize("right", [1.0, 0.5, 0.25])
def test_a_run_counts_once_however_often_it_calls_the_predictor(right: float) -> None:
    once, often = Luck(examples=8, right=right), Looping(examples=8, right=right)
    single, several = (evidence(each).terms("count the items") for each in (once, often))
    assert often.samples == once.samples
    assert [(t.item, t.weight) for t in several] == [
        (t.item, t.weight) for t in single for _ in range(3)
    ]


def test_an_incumbent_is_sampled_once() -> None:
    subject = Luck(examples=8)
    known = evidence(subject)
    assert known.terms("count the items") is known.terms("count the items")
    known.solved("count the items")
    assert subject.samples == [1]
    known.terms("read the answer")
    assert subject.samples == [1, 1]
