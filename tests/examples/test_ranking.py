"""Whether likelihoods rank instructions, and whether a gradient says what to rewrite."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.benchmarks import ranking, rewrites
from examples.benchmarks.ranking import Draw, correlations, rank_correlation
from examples.benchmarks.rewrites import parts, without_each, yield_ratio
from examples.quickstart import SMALL_MODEL

TEXTS = (
    "Answer.",
    "Go through it step by step, slowly, and count.",
    "Say it, then, or not.",
    "Do.",
)


def question(scores: list[float], label: list[float], wrong: list[float]) -> dict[str, Any]:
    """Return a question to which all instructions but those right have one wrong answer."""
    failed = [index for index, score in enumerate(scores) if not score]
    return {
        "runs": scores,
        "answers": [{"score": 0.0, "of": failed, "log_probs": wrong}],
        "label": label,
    }


def test_each_measure_sees_what_it_is_named_for() -> None:
    rare = question([0.0, 1.0], label=[-1.0, -0.5], wrong=[-0.2, -2.0])
    rare["answers"].append({"score": 1.0, "of": [1], "log_probs": [-1.0, -0.4]})
    draw = Draw([rare], frozenset({0, 1}))
    assert (draw.runs(0), draw.runs(1)) == (0.0, 1.0)
    assert (draw.success(0), draw.success(1)) == (-1.0, -0.4)
    assert (draw.contrast(0), draw.contrast(1)) == pytest.approx((-0.8, 1.6))
    assert (draw.label(0), draw.label(1)) == (-1.0, -0.5)
    assert (draw.label_contrast(0), draw.label_contrast(1)) == pytest.approx((-0.8, 1.5))
    # What the second one wrote is not known here.
    assert Draw([rare], frozenset({0})).success(1) == 0.0


def test_a_measure_that_goes_with_the_held_out_score_correlates_fully() -> None:
    label = [-6.0, -5.0, -4.0, -3.0, -2.0, -1.0]
    case = {
        "scores": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        "questions": [question([0.0] * 6, label, wrong=[-1.0] * 6)] * 8,
    }
    found = correlations(case)
    assert {round(value, 6) for value in found["label"] + found["label, contrast"]} == {1.0}
    assert set(found["runs"]) == set(found["success"]) == {0.0}
    assert found["runs, label"] == pytest.approx([1.0] * ranking.DRAWS)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=8))
def test_a_rank_correlation_is_one_with_itself_and_its_opposite_with_its_negative(
    values: list[float],
) -> None:
    expected = 0.0 if len(set(values)) == 1 else 1.0
    assert rank_correlation(values, [3 * v for v in values]) == pytest.approx(expected)
    assert rank_correlation(values, [-v for v in values]) == pytest.approx(-expected)


@given(st.text(alphabet="ab ,.;\n", max_size=30))
def test_clauses_together_are_the_whole(text: str) -> None:
    assert "".join(parts(text)) == text
    assert all(len(each) < len(text) for each in without_each(parts(text)))


def test_a_yield_is_compared_with_that_of_random_clauses() -> None:
    case = {"base": 0.5, "gradient": [0.6, 0.7, 0.8, 0.9], "random": [0.4, 0.5, 0.9, 0.2]}
    ratio, low, high = yield_ratio([case] * 3, "gradient")
    assert (ratio, low, high) == (13 / 4, 13 / 4, 13 / 4)
    assert yield_ratio([case], "random") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("benchmark", [ranking, rewrites])
def test_they_run_on_a_model_and_what_is_kept_is_not_run_again(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = tmp_path / "listed", tmp_path / "out"
    lines = [json.dumps({"task": "weekday", "source": "given", "text": text}) for text in TEXTS]
    lines += [json.dumps({"task": "weekday", "source": "given", "text": f"{t} So."}) for t in TEXTS]
    listed.write_text("\n".join(lines))
    parser = argparse.ArgumentParser()
    benchmark.arguments(parser)
    sizes = {
        ranking: ["--train", "2", "--held-out", "2"],
        rewrites: ["--train", "4", "--judged", "2", "--starts", "1", "--rewrites", "2"],
    }[benchmark]
    given = parser.parse_args(
        [
            *("--model", str(SMALL_MODEL), "--tasks", "weekday", "--instructions", str(listed)),
            *("--out", str(out), *sizes),
        ]
    )
    table = benchmark.run(given)
    assert "weekday" in table or "gradient" in table
    assert not any(text in out.read_text() for text in TEXTS)
    monkeypatch.setattr(benchmark, "local_lm", None)
    assert benchmark.run(given) == table
