"""Sizes of a search by effort or by bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dspy_greater.search.presets import PAPER, VERIFIED

from dspy_greater.search import PaperConfig, VerifiedConfig, settings


def test_light_is_the_default() -> None:
    assert settings("verified", None, None, bounded=False) == VERIFIED["light"] == VerifiedConfig()
    assert settings("paper", "medium", None, bounded=False) == PAPER["medium"]


@pytest.mark.parametrize("steps", [None, 7])
def test_bounds_come_with_small_steps_and_as_many_as_they_allow(steps: int | None) -> None:
    found = settings("verified", None, steps, bounded=True)
    assert isinstance(found, VerifiedConfig)
    assert found.max_steps == (steps or 10_000)
    small = VERIFIED["light"]
    assert replace(found, max_steps=small.max_steps, patience=small.patience) == small
    assert settings("paper", None, steps, bounded=True) == PaperConfig(max_steps=found.max_steps)


def test_own_settings_are_kept_but_for_the_steps() -> None:
    own = VerifiedConfig(race_size=2)
    assert settings(own, None, None, bounded=True) is own
    assert settings(own, None, 3, bounded=False) == replace(own, max_steps=3)


@pytest.mark.parametrize(
    ("schedule", "auto", "steps", "bounded", "message"),
    [
        ("verified", "light", 3, False, "not both"),
        ("verified", "light", None, True, "not both"),
        ("greedy", None, None, False, "schedule must be"),
        ("paper", "huge", None, False, "auto must be"),
        (VerifiedConfig(), "light", None, False, "leave auto out"),
    ],
)
def test_a_contradiction_is_refused(
    schedule: object, auto: object, steps: int | None, bounded: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings(schedule, auto, steps, bounded)  # type: ignore[arg-type]
