"""What changed from one instruction to the next, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

from dspy_greater.record import Candidate, Record

# A word, a sign, a stretch of blanks; scripts that write no blanks between words go sign by sign.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
_PIECE = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]|\s+")
#: Share of the shorter text's words and signs that must be in the other for the two to be kindred.
KINDRED = 0.4


class Stretch(NamedTuple):
    """A part of two texts: in both (``"same"``), ``"deleted"`` or ``"inserted"``."""

    kind: str
    text: str


class Change(NamedTuple):
    """A new current instruction, and how it differs from the one before."""

    candidate: Candidate
    stretches: list[Stretch]


def words(before: str, after: str) -> list[Stretch]:
    """Return how one text becomes another, what is deleted before what is put in its place."""
    old, new = _PIECE.findall(before), _PIECE.findall(after)
    # Blanks are no common ground, and neither is an odd "the" or full stop: an instruction of
    # which nothing is left would be chopped into single words.
    codes = SequenceMatcher(str.isspace, old, new, autojunk=False).get_opcodes()
    common = sum(_count(old[i:j]) for kind, i, j, _, _ in codes if kind == "equal")
    if common < KINDRED * min(_count(old), _count(new)):
        codes = [("replace", 0, len(old), 0, len(new))]
    stretches = []
    for kind, i, j, k, m in codes:
        is_same, was, now = kind == "equal", "".join(old[i:j]), "".join(new[k:m])
        stretches.append(Stretch("same" if is_same else "deleted", was))
        stretches.append(Stretch("inserted", "" if is_same else now))
    return [each for each in stretches if each.text]


def _count(pieces: list[str]) -> int:
    """Count words and signs."""
    return sum(not piece.isspace() for piece in pieces)


def history(record: Record, predictor: str) -> list[Change]:
    """Return the instructions that were a predictor's current one, without the first."""
    accepted = [c for c in record.candidates if c.predictor == predictor and c.accepted]
    return [Change(new, words(old.instruction, new.instruction)) for old, new in pairwise(accepted)]
