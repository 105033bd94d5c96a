"""The benchmarks' bookkeeping and tables."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from examples.benchmarks import gap, served
from examples.benchmarks.common import Cases, bootstrap
from examples.quickstart import SMALL_MODEL, load


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
