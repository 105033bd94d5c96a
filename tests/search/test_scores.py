"""Programs as values, what is known of them, and that nothing is run twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import mean

from hypothesis import given, settings
from hypothesis import strategies as st

from dspy_greater.search import Program, ScoreBoard, Scores
from dspy_greater.search.scores import LEAST_LIMIT
from tests.support.fakes import FakeRunner, board_of, toy

NAMES = st.text(max_size=5)
TEXTS = st.text(max_size=20)
PROGRAMS = st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3).map(Program.of)
SCORE = st.floats(0, 1)
#: By program, its scores on some training examples and, perhaps, on validation examples.
KNOWN = st.dictionaries(
    PROGRAMS,
    st.tuples(
        st.dictionaries(st.integers(0, 99), SCORE, min_size=1),
        st.none() | st.lists(SCORE, min_size=1, max_size=4),
    ),
    max_size=6,
)


@given(PROGRAMS)
def test_a_program_comes_back_from_json_as_an_equal_value(program: Program) -> None:
    again = Program.of(json.loads(json.dumps(program.instructions)))
    assert again == program
    assert hash(again) == hash(program)
    assert list(again) == list(program)
    assert {again: 1}[program] == 1


@given(PROGRAMS, TEXTS)
def test_another_instruction_changes_one_predictor_alone(program: Program, text: str) -> None:
    for name in program:
        other = program.replaced(name, text)
        assert other[name] == text
        assert other.around(name) == program.around(name)
        assert other.changes(program) == ({name: text} if text != program[name] else {})
        assert other.replaced(name, program[name]) == program


@given(KNOWN, st.integers(0, 9), st.randoms())
def test_scores_come_back_from_json_as_they_were(
    known: dict[Program, tuple[dict[int, float], list[float] | None]], longest: int, rng: object
) -> None:
    scores = Scores(longest=longest)
    for program, (training, _) in known.items():
        scores.training[program] = training
    validated = [program for program, (_, scored) in known.items() if scored is not None]
    rng.shuffle(validated)  # type: ignore[attr-defined]
    for program in validated:
        scores.validation[program] = known[program][1] or []
    scores.finalists = validated[1:]
    loaded = Scores.load(json.loads(json.dumps(scores.dump())))
    assert loaded == scores
    # Among equals the first that was validated is returned, so the order is part of it.
    assert list(loaded.validation) == list(scores.validation)


def test_what_was_tried_is_known_by_the_program_around_it() -> None:
    scores = Scores()
    for text, other in (("read", "count"), ("guess", "count"), ("items", "the")):
        scores.training[toy(text, other=other)] = {0: 1.0}
    assert scores.tried(toy("slowly", other="count"), "toy") == {"read", "guess"}
    assert scores.tried(toy("read", other="slowly"), "other") == {"count"}
    assert scores.tried(toy("read", other="slowly"), "toy") == set()


#: What may be asked of a board: some programs on some training examples, or one's validation.
ASKED = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["read", "count", "guess"]), min_size=1, max_size=4),
        st.lists(st.integers(0, 5), unique=True, max_size=6),
    ),
    max_size=6,
)


@given(ASKED)
@settings(deadline=None)
def test_nothing_is_run_twice_whoever_asks(asked: list[tuple[list[str], list[int]]]) -> None:
    runner = FakeRunner(6)
    board = board_of(runner)
    for texts, examples in asked:
        programs = [toy(text) for text in texts]
        board.train(programs, examples)
        for program in programs:
            expected = [runner.one(program, example).score for example in examples]
            assert board.training_scores(program, examples) == expected
            assert [run.score for run in board.runs(program, examples)] == expected
        board.validate(programs)
        assert [board.validation_score(each) for each in programs] == [
            mean(runner.one(each, example).score for example in range(6)) for each in programs
        ]
    assert len(runner.runs) == len(set(runner.runs))
    assert set(runner.runs) == {
        (toy(t), e) for texts, examples in asked for t in texts for e in examples
    }
    assert len(runner.validated) == len(set(runner.validated))


def test_programs_run_side_by_side_whatever_each_of_them_lacks() -> None:
    runner = FakeRunner(6)
    board = board_of(runner)
    board.train([toy("read")], range(2))
    board.train([toy("read"), toy("count"), toy("guess")], range(4))
    assert len(runner.limits) == 2  # the second time one lacks two of four, two lack all
    assert len(runner.runs) == 2 + 2 + 4 + 4


def test_runs_are_made_once_more_where_only_the_scores_were_saved() -> None:
    first = board_of(FakeRunner(6))
    first.train([toy("count items")], range(6))
    runner = FakeRunner(6)
    board = ScoreBoard(Scores.load(json.loads(json.dumps(first.scores.dump()))), runner, 6)
    board.train([toy("count items")], range(6))
    assert runner.runs == []
    assert [run.score for run in board.runs(toy("count items"), range(6))] == [1.0] * 6
    assert len(runner.runs) == 6


def test_only_the_current_programs_runs_are_kept() -> None:
    runner = FakeRunner(6)
    board = board_of(runner)
    board.train([toy("read"), toy("count")], range(6))
    board.hold(toy("count"))
    board.runs(toy("count"), range(6))
    assert len(runner.runs) == 12
    board.runs(toy("read"), range(6))
    assert len(runner.runs) == 18


def test_answers_may_be_as_long_as_the_longest_of_a_current_program() -> None:
    def limit(longest: int) -> int | None:
        return ScoreBoard(Scores(longest=longest), FakeRunner(), 6).limit

    assert limit(1000) == 1000
    assert limit(7) == LEAST_LIMIT
    assert limit(0) is None  # nothing could be read
    runner = FakeRunner(6)
    board = ScoreBoard(Scores(longest=300), runner, 6)
    board.train([toy("read")], range(6))
    assert runner.limits == [300]


def scores_of(pairs: Iterable[tuple[Program, float]]) -> Scores:
    return Scores({program: {0: score} for program, score in pairs})


def test_the_same_instruction_in_other_programs_has_scores_of_its_own() -> None:
    here, there = toy("read", other="count"), toy("read", other="guess")
    scores = scores_of([(here, 1.0), (there, 0.0)])
    board = ScoreBoard(scores, FakeRunner(), 6)
    assert (board.training_mean(here), board.training_mean(there)) == (1.0, 0.0)


def test_runs_of_what_may_still_be_returned_are_kept() -> None:
    runner = FakeRunner(6)
    board = board_of(runner)
    current, validated, lost = toy("read"), toy("count items"), toy("guess")
    board.train([current, validated, lost], range(6))
    board.validation_score(validated)
    board.hold(current)
    made = len(runner.runs)
    board.runs(current, range(6))
    board.runs(validated, range(6))
    assert len(runner.runs) == made
    board.runs(lost, range(6))
    assert len(runner.runs) == made + 6


def test_questions_come_first_on_which_programs_differ() -> None:
    board = board_of(FakeRunner(6))
    board.scores.training = {
        toy("a"): {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0, 4: 1.0},
        toy("b"): {0: 1.0, 1: 1.0, 2: 1.0, 3: 0.0, 4: 0.5},
        toy("c"): {0: 1.0, 3: 0.0},
    }
    assert board.differing_first([5, 4, 3, 2, 1, 0]) == [1, 4, 5, 3, 2, 0]
    assert board_of(FakeRunner(6)).differing_first([2, 0, 1]) == [2, 0, 1]


def test_a_gain_is_over_the_examples_that_both_were_run_on() -> None:
    board = board_of(FakeRunner(4))
    known = {toy("count"): {0: 1.0, 1: 1.0}, toy("read"): {0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0}}
    board.scores.training.update(known)
    assert board.gain(toy("count"), toy("read")) == 0.5
    assert board.gain(toy("read"), toy("count")) == -0.5
    board.scores.training[toy("guess")] = {}
    assert board.gain(toy("guess"), toy("read")) == 0
