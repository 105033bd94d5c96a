"""Kinds of answers: how a program is told of them, and how they are read to be compared.

Reading forgives the form of an answer and nothing else: what could mean two things, or says what
the answer is not, is read as nothing, and nothing is never right.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import dspy


@dataclass(frozen=True)
class Answers:
    """A kind of answer.

    Args:
        kind: What it is called in tables.
        description: What the signature says about it.
        read: Takes an answer without its wrapping, and the question; returns what the answer
            means, or None.
    """

    kind: str
    description: str
    read: Callable[[str, str], Hashable | None]

    def score(self, example: dspy.Example, prediction: Any) -> bool:
        """Say whether the answer of a prediction means the same as the published one."""
        question = str(example.get("question", ""))
        given = self.read(unwrapped(getattr(prediction, "answer", None)), question)
        return given is not None and given == self.read(unwrapped(example.answer), question)


# Curly quotes, and the dashes that stand for a minus.
_PLAIN = str.maketrans("\u201c\u201d\u2018\u2019\u2212\u2013", "\"\"''--", "`")
_LATEX = re.compile(r"\\(?:boxed|text|mathrm)\{([^{}]*)\}")
_LEAD = re.compile(
    r"(?:^|[.!?;:,\n])\s*(?:(?:so|thus|therefore|hence)\b,?\s*)?(?:(?:the|my)\s+)?"
    r"(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice|result|output)\s*"
    r"(?:is\b\s*:?|:|=)",
    re.IGNORECASE,
)
_EDGES = " \t\r\n\"'$*"


def unwrapped(answer: Any) -> str:
    """Return an answer without markup, quotes, "The answer is" and a final full stop."""
    if isinstance(answer, (list, tuple)):
        answer = " ".join(map(str, answer))
    text = "" if answer is None else str(answer).translate(_PLAIN).replace("**", "")
    text = _LATEX.sub(r"\1", _LATEX.sub(r"\1", text))  # A \text may be within a \boxed.
    *_, text = _LEAD.split(text)
    return text.strip(_EDGES).rstrip(_EDGES + ".")


# --- The letter of an option ---------------------------------------------------------------------

_OPTION = re.compile(r"(?:option\s+|choice\s+)?(?:\(([a-z])\)|([a-z])(?:[).:]|$))(.*)", re.I | re.S)


def _option(text: str, question: str) -> Hashable | None:
    """Read a letter, alone or before the whole text of its option; anything else as words.

    A few published answers are the text of options that a comma had torn apart; no letter is
    right for these, only the words.
    """
    words = _tokens(text)
    if match := _OPTION.fullmatch(text):
        letter, rest = (match[1] or match[2]).upper(), _tokens(match[3])
        options = dict(re.findall(r"^\(([A-Z])\)(.*)$", question, re.MULTILINE))
        if not rest or rest == _tokens(options.get(letter, "")):
            return letter
    return words or None


def _tokens(text: str) -> tuple[str, ...]:
    """Return the words of a text, without case and the punctuation around them."""
    bare = (token.strip(string.punctuation) for token in re.split(r"[\s,;]+", text.casefold()))
    return tuple(token for token in bare if token)


# --- A number ------------------------------------------------------------------------------------

_SIGN_WORDS = re.compile(r"\b(?:minus|negative)\s+", re.IGNORECASE)
# All digits that stand together; not the 1 of 1e3 or 1^3, nor the 2 of x2.
_RUN = re.compile(
    r"((?<!\w)-\s*)?(?<![\w.,])(\.?[0-9][0-9.,]*)(?![0-9.,]|e[-+]?[0-9]|[\u00b2\u00b3^])"
    r"\s*(thousand|million|billion|k\b)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.[0-9]+)?")
_POWERS = {"": 0, "k": 3, "thousand": 3, "million": 6, "billion": 9}
# What is not the number, or not it alone.
_DENIAL = re.compile(
    r"\b(?:not|never|cannot|neither|nor|no|or|at least|at most|than (?=\W*[0-9]))\b|n't\b|!=",
    re.IGNORECASE,
)


def _number(text: str, _question: str) -> Decimal | None:
    """Read the only number of a text, or the one after the last equals sign."""
    if _DENIAL.search(text):
        return None
    text = re.sub(r"\\|[$€£¥]", " ", _SIGN_WORDS.sub("-", text.rpartition("=")[2]))
    runs = _RUN.findall(text)
    if len(runs) != 1:
        return None
    ((sign, digits, scale),) = runs
    digits = digits.rstrip(".,")
    if not _NUMBER.fullmatch(digits):
        return None
    # Made from text, because arithmetic with decimals rounds.
    return Decimal(f"{sign.strip()}{digits.replace(',', '')}e{_POWERS[scale.lower()]}")


# --- One of a few words --------------------------------------------------------------------------


def _one_of(*words: str, **synonyms: str) -> Callable[[str, str], str | None]:
    """Return a reader of answers that are one word of a few, or say that something is that word."""
    meaning = {word: word for word in words} | synonyms
    any_of = "|".join(meaning)
    mentioned = re.compile(rf"(?<![\w-])({any_of})(?![\w-])")
    stated = re.compile(
        r"(?:(?:it|(?:the|this)\s+(?:argument|conclusion|statement|expression|sentence))\s+is\s+)?"
        rf"(?:(?:deductively|logically)\s+)?({any_of})(?:\s*[.,;:!(\n-].*)?",
        re.DOTALL,
    )

    def read(text: str, _question: str) -> str | None:
        text = text.casefold().strip("()[]- ")
        match = stated.fullmatch(text)
        if match is None or len({meaning[word] for word in mentioned.findall(text)}) != 1:
            return None
        return meaning[match[1]]

    return read


# --- Sequences of words and of brackets ----------------------------------------------------------


def _words(text: str, _question: str) -> tuple[str, ...] | None:
    """Read a list of words, numbered or not, after a heading or not."""
    listed = re.sub(r"(?:^|(?<=\s))[0-9]+[.)]\s", " ", text.rpartition(":")[2])
    return _tokens(listed) or None


def _brackets(text: str, _question: str) -> str | None:
    """Read brackets and nothing else, whatever stands between them."""
    brackets = re.sub(r"[\s,'\"]+", "", text)
    return brackets if re.fullmatch(r"[][(){}<>]+", brackets) else None


OPTION = Answers("option", "the letter of the right option in parentheses, such as (A)", _option)
NUMBER = Answers("number", "a number in digits, without units", _number)
BOOLEAN = Answers("True, False", "True or False", _one_of("true", "false"))
YES_NO = Answers("Yes, No", "Yes or No", _one_of("yes", "no"))
YES_NO_SMALL = Answers("yes, no", "yes or no", YES_NO.read)
VALIDITY = Answers("valid, invalid", "valid or invalid", _one_of("valid", "invalid"))
TRUTH = Answers(
    "True, False, Uncertain",
    "True, False or Uncertain",
    _one_of("true", "false", "uncertain", unknown="uncertain"),
)
WORDS = Answers("list of words", "the words in order, separated by spaces", _words)
BRACKETS = Answers(
    "list of brackets", "only the missing brackets in order, separated by spaces", _brackets
)
