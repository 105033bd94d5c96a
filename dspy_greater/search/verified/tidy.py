"""Shorter versions of an instruction, without words or sentences that may do no work."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from dspy_greater.search.verified.edits import Edit
from dspy_greater.search.verified.estimates import exact
from dspy_greater.search.verified.objectives import Term
from dspy_greater.search.verified.proposer import RatedEdit
from dspy_greater.search.view import PredictorView

WORD = re.compile(r"\s*\S+")
SENTENCE = re.compile(r"\s*\S.*?(?:[.!?](?=\s|$)|$)", re.DOTALL)


def shortened(
    view: PredictorView, instruction: str, terms: Sequence[Term], count: int
) -> list[RatedEdit]:
    """Return an instruction without one of its words or sentences, what costs least first."""
    length = len(view.tokens(instruction))
    candidates = []
    for text in [*without_a_part(instruction, SENTENCE), *without_a_part(instruction, WORD)]:
        tokens = view.tokens(text)
        if view.text_of(tokens) == text:
            candidates.append(RatedEdit(Edit("tidy", 0, length, tokens), text, tokens))
    values = exact(view.model, terms, [each.tokens for each in candidates])
    pairs = [(v, c) for v, c in zip(values, candidates, strict=True) if math.isfinite(v)]
    pairs.sort(key=lambda pair: -pair[0])
    return [replace(candidate, estimate=value) for value, candidate in pairs[:count]]


def without_a_part(text: str, part: re.Pattern[str]) -> list[str]:
    """Return a text without each of its words or sentences; a capital at the start stays one."""
    parts = part.findall(text)
    shorter = ["".join(parts[:i] + parts[i + 1 :]).strip() for i in range(len(parts))]
    if text[:1].isupper():
        shorter = [each[:1].upper() + each[1:] for each in shorter]
    return [each for each in dict.fromkeys(shorter) if each]
