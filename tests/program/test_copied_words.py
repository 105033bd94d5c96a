"""Which words of an instruction were taken from examples, and which examples it shows."""

from __future__ import annotations

import dspy

from dspy_greater.program import copied_words
from dspy_greater.program.data import shown_in

EXAMPLES = [
    dspy.Example(question=q, answer=a).with_inputs("question")
    for q, a in [
        ("At noon Ada has 17 red apples. How many apples does Ben have?", "9"),
        ("At noon Cleo has 4 apples. How many apples are there?", "lots of them"),
        ("How many days does Dan wait?", "12"),
    ]
]


def test_names_numbers_and_answers_of_single_examples_are_copied() -> None:
    text = "Count the apples of Ada and Dan, 17 at most, never lots."
    assert copied_words(text, "Count.", EXAMPLES) == ("ada", "dan", "17", "lots")


def test_the_tasks_own_words_and_short_ones_are_not() -> None:
    assert copied_words("At noon see how many of the apples there are.", "", EXAMPLES) == ()


def test_what_the_user_wrote_is_the_users() -> None:
    assert copied_words("Answer 12, or ask Ada.", "Answer 12.", EXAMPLES) == ("ada",)


def test_a_number_in_most_examples_belongs_to_the_task() -> None:
    examples = [EXAMPLES[0].copy(question=f"Of 100 apples {n} are red.") for n in (3, 4, 5)]
    assert copied_words("Start from 100, not from 3.", "", examples) == ("3",)


def test_an_example_is_shown_where_all_of_its_inputs_stand() -> None:
    worked = f"For example:\n\nquestion:  {EXAMPLES[1].question}\nanswer: lots"
    assert shown_in(["Count.", worked], EXAMPLES) == {1}
    assert shown_in(["Count.", EXAMPLES[1].question[:-9]], EXAMPLES) == set()


def test_inputs_that_stand_in_any_text_show_nothing() -> None:
    short = [dspy.Example(word=word).with_inputs("word") for word in ("a", "e", "zebra")]
    assert shown_in(["Name the animal."], short) == set()
    assert shown_in(["Say zebra."], short[1:]) == set()  # half of them would
    assert shown_in(["A zebra!"], [*short[2:], *EXAMPLES]) == {0}
