"""Metrics: what is right, and what only looks so; all questions are invented."""

from __future__ import annotations

from typing import Any

import dspy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.tasks.answers import (
    BOOLEAN,
    BRACKETS,
    NUMBER,
    OPTION,
    TRUTH,
    VALIDITY,
    WORDS,
    YES_NO,
    YES_NO_SMALL,
    Answers,
)
from tests.support.tasks import OPTIONS

# A comma in the option's own text made two options of it, and the text itself the answer.
TORN = "Find a movie like these:\nOptions:\n(A) Rivers\n(B) Ltd\n(C) A long walk"


def is_right(answers: Answers, gold: str, given: Any, question: str = "") -> bool:
    example = dspy.Example(question=question, answer=gold).with_inputs("question")
    return answers.score(example, dspy.Prediction(answer=given))


RIGHT = [
    (OPTION, "(A)", "(A)"),
    (OPTION, "(A)", "A"),
    (OPTION, "(A)", "a)"),
    (OPTION, "(A)", "A."),
    (OPTION, "(A)", "**(A)**"),
    (OPTION, "(A)", '"(A)".'),
    (OPTION, "(A)", "$\\boxed{A}$"),
    (OPTION, "(A)", "\\boxed{\\text{(A)}}"),
    (OPTION, "(A)", "Option A"),
    (OPTION, "(A)", "The answer is (A)."),
    (OPTION, "(A)", "So the correct answer is: (A)"),
    (OPTION, "(A)", "Answer: A"),
    (OPTION, "(A)", "The heron comes first. Therefore, the answer is option A."),
    (OPTION, "(A)", "(A) The heron"),
    (OPTION, "(C)", "C: the red-eyed gull."),
    (NUMBER, "1234", "1,234.00 dollars"),
    (NUMBER, "1234", "$1234"),
    (NUMBER, "1234", "1234."),
    (NUMBER, "1234", "The answer is **1,234** apples."),
    (NUMBER, "1234", "617 * 2 = 1,234"),
    (NUMBER, "1234", "She has 1234 apples more than Ann"),
    (NUMBER, "1234", "#### 1234"),
    (NUMBER, "1234", 1234.0),
    (NUMBER, "18", "18%"),
    (NUMBER, "18", "18kg"),
    (NUMBER, "-7", "-7"),
    (NUMBER, "-7", "\u22127"),
    (NUMBER, "-7", "-$7.00"),
    (NUMBER, "-7", "$-7"),
    (NUMBER, "-7", "minus 7"),
    (NUMBER, "-7", "x = - 7"),
    (NUMBER, "2000000", "2 million"),
    (NUMBER, "18000", "18k"),
    (BOOLEAN, "True", "true"),
    (BOOLEAN, "True", True),
    (BOOLEAN, "False", "The expression is False."),
    (YES_NO, "Yes", "yes."),
    (YES_NO, "No", "No, you do not return to the start"),
    (YES_NO, "No", "- No"),
    (YES_NO_SMALL, "no", "The answer is No"),
    (VALIDITY, "valid", "The argument is deductively valid."),
    (VALIDITY, "invalid", "Invalid"),
    (TRUTH, "Uncertain", "Unknown"),
    (TRUTH, "Uncertain", "The conclusion is uncertain."),
    (TRUTH, "False", "False (the premises contradict it)"),
    (WORDS, "ant it&t o'neil zoo", "Ant, it&t, o\u2019neil, zoo."),
    (WORDS, "ant it&t o'neil zoo", "Sorted list: ant it&t o'neil zoo"),
    (WORDS, "ant it&t o'neil zoo", "1. ant\n2. it&t\n3. o'neil\n4. zoo"),
    (WORDS, "ant it&t o'neil zoo", '["ant", "it&t", "o\'neil", "zoo"]'),
    (WORDS, "ant it&t o'neil zoo", ["ant", "it&t", "o'neil", "zoo"]),
    (BRACKETS, "] ) > }", "])>}"),
    (BRACKETS, "] ) > }", "`] ) > }`."),
    (BRACKETS, "] ) > }", '"]", ")", ">", "}"'),
    (BRACKETS, "] ) > }", "The answer is: ], ), >, }"),
]
WRONG = [
    (OPTION, "(A)", "(A) or (B)"),
    (OPTION, "(A)", "A, B"),
    (OPTION, "(A)", "(B)"),
    (OPTION, "(A)", "not (A)"),
    (OPTION, "(A)", "The answer is not (A)"),
    (OPTION, "(A)", "The answer isn't A"),
    (OPTION, "(A)", "(A) is wrong"),
    (OPTION, "(A)", "(A) The stork"),
    (OPTION, "(A)", "A heron"),
    (OPTION, "(A)", "The answer is (A). No, the answer is (B)."),
    (NUMBER, "12", "120"),
    (NUMBER, "12", "1.2"),
    (NUMBER, "12", "-12"),
    (NUMBER, "12", "12 or 13"),
    (NUMBER, "12", "12-15"),
    (NUMBER, "12", "12/12"),
    (NUMBER, "12", "not 12"),
    (NUMBER, "12", "12,34"),
    (NUMBER, "12", "12e3"),
    (NUMBER, "12", "12^3"),
    (NUMBER, "12", "12 or more"),
    (NUMBER, "12", "at least 12"),
    (NUMBER, "12", "fewer than 12"),
    (NUMBER, "12", "It != 12"),
    (NUMBER, "12", "12 thousand"),
    (NUMBER, "12", "B12"),
    (NUMBER, "234", "B1,234"),
    (NUMBER, "12", "12" * 3000),
    (NUMBER, "12", "twelve dozen"),
    (NUMBER, "1", "1,2345"),
    (NUMBER, "-12", "12"),
    (BOOLEAN, "True", "False"),
    (BOOLEAN, "True", "not True"),
    (BOOLEAN, "True", "The expression is not True"),
    (BOOLEAN, "True", "True or False"),
    (BOOLEAN, "True", "untrue"),
    (YES_NO, "No", "There is no way to know"),
    (YES_NO, "No", "Nobody"),
    (YES_NO, "No", "Not sure"),
    (YES_NO, "Yes", "Yes and no"),
    (YES_NO, "Yes", "Yes, or rather no"),
    (VALIDITY, "valid", "not valid"),
    (VALIDITY, "valid", "The argument is not valid."),
    (VALIDITY, "valid", "invalid"),
    (VALIDITY, "valid", "non-valid"),
    (VALIDITY, "valid", "It isn't clear that the argument is valid"),
    (TRUTH, "Uncertain", "True"),
    (TRUTH, "True", "It is uncertain whether it is true"),
    (TRUTH, "True", "If so the conclusion is true"),
    (TRUTH, "True", "It is doubtful that the conclusion is true"),
    (WORDS, "ant bee cat", "ant cat bee"),
    (WORDS, "ant bee cat", "ant bee"),
    (WORDS, "ant bee cat", "ant bee cat cat"),
    (WORDS, "ant bee cat", "ant beecat"),
    (BRACKETS, "] )", ") ]"),
    (BRACKETS, "] )", "]"),
    (BRACKETS, "] )", "( [ ] )"),
    (BRACKETS, "] )", "] ) closes it"),
]
KINDS = [OPTION, NUMBER, BOOLEAN, YES_NO, YES_NO_SMALL, VALIDITY, TRUTH, WORDS, BRACKETS]
GOLD = {
    OPTION: ["(A)", "(B)"],
    NUMBER: ["12", "-3"],
    BOOLEAN: ["True", "False"],
    YES_NO: ["Yes", "No"],
    YES_NO_SMALL: ["yes", "no"],
    VALIDITY: ["valid", "invalid"],
    TRUTH: ["True", "False", "Uncertain"],
    WORDS: ["ant bee", "cat dog"],
    BRACKETS: ["] )", ">"],
}


@pytest.mark.parametrize(("answers", "gold", "given"), RIGHT)
def test_another_form_of_the_right_answer_is_right(answers: Answers, gold: str, given: Any) -> None:
    assert is_right(answers, gold, given, OPTIONS)


@pytest.mark.parametrize(("answers", "gold", "given"), WRONG)
def test_what_only_resembles_the_answer_is_wrong(answers: Answers, gold: str, given: Any) -> None:
    assert not is_right(answers, gold, given, OPTIONS)


@pytest.mark.parametrize("answers", KINDS, ids=lambda answers: answers.kind)
def test_each_answer_of_a_kind_is_right_for_itself_alone(answers: Answers) -> None:
    for gold in GOLD[answers]:
        assert [is_right(answers, gold, given) for given in GOLD[answers]] == [
            given == gold for given in GOLD[answers]
        ]


@pytest.mark.parametrize("answers", KINDS, ids=lambda answers: answers.kind)
@pytest.mark.parametrize(
    "given", [None, "", " ", "...", "I do not know", [], "\n(", "The answer is"]
)
def test_no_answer_is_wrong_and_no_error(answers: Answers, given: Any) -> None:
    for gold in GOLD[answers]:
        assert not is_right(answers, gold, given)
        example = dspy.Example(question="?", answer=gold).with_inputs("question")
        assert not answers.score(example, dspy.Prediction())
        assert not answers.score(example, None)


def test_options_torn_apart_by_a_comma_are_answered_in_words() -> None:
    assert is_right(OPTION, "Rivers, Ltd", "rivers, ltd.", TORN)
    for letter in ("(A)", "(B)", "(A) Rivers", "(A) Rivers (B) Ltd", "Rivers"):
        assert not is_right(OPTION, "Rivers, Ltd", letter, TORN)


UNITS = ["", " dollars", " apples", "%", " km/h", " cm", ".", " per day."]


@given(
    number=st.integers(-(10**40), 10**40),
    currency=st.sampled_from(["", "$", "€", "£"]),
    cents=st.sampled_from(["", ".0", ".00"]),
    unit=st.sampled_from(UNITS),
    lead=st.sampled_from(["", "The answer is ", "Answer: ", "So the total is ", "2 * 3 = "]),
    commas=st.booleans(),
)
def test_a_number_is_itself_in_any_dress(
    number: int, currency: str, cents: str, unit: str, lead: str, commas: bool
) -> None:
    digits = f"{abs(number):,}" if commas else str(abs(number))
    dressed = f"{lead}{'-' if number < 0 else ''}{currency}{digits}{cents}{unit}"
    assert is_right(NUMBER, str(number), dressed)
    assert not is_right(NUMBER, str(number + 1), dressed)
    assert not is_right(NUMBER, str(number * 10 + 1), dressed)
    assert is_right(NUMBER, f"{number:,}", dressed)


@given(st.text())
@settings(deadline=None)
def test_any_text_can_be_judged(text: str) -> None:
    for answers in KINDS:
        right = [is_right(answers, gold, text, OPTIONS) for gold in GOLD[answers]]
        assert sum(right) <= 1  # Nothing means two answers.


WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=6)


@given(data=st.data(), words=st.lists(WORD, min_size=2, max_size=6, unique=True))
def test_a_list_of_words_is_right_in_its_own_order_alone(
    data: st.DataObject, words: list[str]
) -> None:
    gold = " ".join(words)
    order = data.draw(st.permutations(words))
    joint = data.draw(st.sampled_from([" ", ", ", "\n", "; "]))
    assert is_right(WORDS, gold, joint.join(order)) == (order == words)
    assert not is_right(WORDS, gold, joint.join(words[:-1]))


@given(st.lists(st.sampled_from("])}>"), min_size=1), st.lists(st.sampled_from("])}>"), min_size=1))
def test_brackets_are_compared_without_their_spaces(left: list[str], right: list[str]) -> None:
    assert is_right(BRACKETS, " ".join(left), "".join(right)) == (left == right)
