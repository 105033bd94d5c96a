"""Whole programs as what is compared: the instructions of all their predictors, as one text."""

from __future__ import annotations

import json
from collections.abc import Mapping


def key(instructions: Mapping[str, str]) -> str:
    """Return one text for a program's instructions by predictor; equal programs, equal texts."""
    return json.dumps(dict(instructions), sort_keys=True, ensure_ascii=False)


def instructions_of(text: str) -> dict[str, str]:
    """Return the instructions that :func:`key` was made of."""
    found: dict[str, str] = json.loads(text)
    return found
