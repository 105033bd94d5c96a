"""The record says what happened, in words and as plain data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dspy_greater import DetailedResults
from dspy_greater.record import Candidate, ChangedExample, Outcome


def outcome(after: str, gain: float) -> Outcome:
    return Outcome(
        predictor="answer",
        before="old",
        after=after,
        score_before=0.5,
        score_after=0.5 + gain,
        gain=gain,
        interval=(gain - 0.1, gain + 0.1),
        p_value=0.0123,
        looks=3,
        steps=8,
        stopped="all steps taken",
        expected_gain=0.8 * gain,
        examples_needed=90 if gain else None,
    )


def test_a_likely_gain_is_told_as_such_with_what_would_make_it_sure() -> None:
    likely = replace(outcome("new words", 0.25), p_value=0.15)
    told = DetailedResults(outcomes=[likely], validation_examples=20).summary()
    assert "20 validation examples, likely (gain" in told
    assert told.endswith("to be sure of this gain would take about 90 examples")
    assert likely.grade == "likely"


def test_grades_follow_the_p_value() -> None:
    grades = {p: replace(outcome("new", 0.1), p_value=p).grade for p in (0.05, 0.06, 0.2, 0.21)}
    assert list(grades.values()) == ["vouched for", "likely", "likely", "possible"]
    assert outcome("old", 0.0).grade == "kept"


def test_a_gain_is_told_with_its_interval_and_the_number_of_looks() -> None:
    record = DetailedResults(outcomes=[outcome("new words", 0.25)], validation_examples=20)
    assert record.improved
    assert record.summary() == (
        "answer: 50.0% -> 75.0% on 20 validation examples, vouched for "
        "(gain +25.0%, 95 % interval +15.0% to +35.0%, about +20.0% without the luck of having "
        "been chosen, p = 0.012 after 3 looks): 'new words'"
    )


def test_no_gain_is_said_and_so_are_failures() -> None:
    record = DetailedResults(outcomes=[outcome("old", 0.0)], parse_failures=3, total_calls=40)
    assert not record.improved
    assert "kept as it was" in record.summary()
    assert "(3 looks; all steps taken)" in record.summary()
    assert "3 of 40 outputs (7.5%) did not parse and counted as wrong" in record.summary()
    assert record.to_dict()["parse_failure_rate"] == record.parse_failure_rate == 3 / 40
    assert DetailedResults.from_dict(record.to_dict()) == record
    assert DetailedResults().parse_failure_rate == 0


def test_the_time_is_told_by_phase() -> None:
    record = DetailedResults(
        outcomes=[outcome("old", 0.0)],
        phases={"score": 2.0, "generate": 7.25, "other": 0.5},
        seconds=9.7,
        total_calls=300,
        counts={"tokens_prompt": 40_000, "tokens_decoded": 1_997, "rollouts": 300},
    )
    assert record.summary().splitlines()[1:] == [
        "300 runs of the program, 41,997 tokens in 9.7 s: generate 7.2, score 2.0, other 0.5"
    ]


def test_a_record_prints_as_its_summary_and_is_one_line_among_others() -> None:
    tried = [Candidate("answer", "new\nwords", 1, "replace", 0, [1.0])] * 300
    changed, kept = outcome("new\nwords", 0.25), outcome("old", 0.0)
    shown: list[tuple[list[Outcome], str]] = [
        ([], "nothing validated"),
        ([changed], "answer 50.0% -> 75.0%"),
        ([kept], "answer 50.0% -> 50.0%"),
        ([kept, changed], "answer 50.0% -> 50.0%, answer 50.0% -> 75.0%"),
    ]
    for outcomes, told in shown:
        record = DetailedResults(outcomes=outcomes, candidates=tried, seconds=9.7)
        assert str(record) == f"{record}" == record.summary()
        assert len(str(record).splitlines()) <= len(outcomes) + 1
        assert repr(record) == f"<DetailedResults: {told}; 300 instructions tried in 9.7 s>"
        assert record.summary().endswith('.report("run.html"), .save("run.json")')


def test_the_summary_says_where_the_steps_are_and_a_saved_record_does_not(tmp_path: Path) -> None:
    record = DetailedResults(candidates=[Candidate("answer", "new", 1, "replace", 0, [1.0])])
    record.log_dir = str(tmp_path)
    assert record.summary().endswith(f"every step is in {tmp_path}")
    path = record.save(tmp_path / "run.json")
    assert str(tmp_path) not in path.read_text()
    assert DetailedResults.load(path) == record


def test_a_long_instruction_is_cut_in_the_summary_alone() -> None:
    record = DetailedResults(outcomes=[outcome("word " * 1000, 0.25)])
    assert len(record.summary()) < 700
    assert record.summary().endswith("…'")
    assert record.outcomes[0].after == "word " * 1000


def test_a_compile_that_was_stopped_at_once_says_so() -> None:
    record = DetailedResults(phases={"other": 0.5})
    assert record.summary().startswith("stopped before anything was validated")


def test_the_record_goes_to_json_as_it_stands() -> None:
    candidate = Candidate("answer", "new", 1, "replace", 0, [1.0, 0.0], validation_scores=[1.0])
    told = outcome("new", 0.1)
    told.changed_examples = [ChangedExample(3, {"question": "?"}, {"answer": "!"}, 0.0, 1.0)]
    record = DetailedResults(candidates=[candidate], outcomes=[told])
    back = json.loads(json.dumps(record.to_dict()))
    assert DetailedResults.from_dict(back) == record
    assert (candidate.train_score, candidate.validation_score) == (0.5, 1.0)


def test_a_record_of_an_earlier_version_is_read() -> None:
    record = DetailedResults(outcomes=[outcome("new", 0.1)])
    saved = record.to_dict()
    del saved["outcomes"][0]["changed_examples"]
    assert DetailedResults.from_dict(saved) == record
