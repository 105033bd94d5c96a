"""Sizes of a search by effort or by bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dspy_greater.search import VerifiedConfig, settings
from dspy_greater.search.presets import HEAVY, LIGHT, MEDIUM, UNBOUNDED
from examples.published_schedule import PaperConfig


def test_light_is_the_default() -> None:
    assert settings("verified", None, None, bounded=False) == LIGHT == VerifiedConfig()


def test_effort_is_a_size() -> None:
    assert settings("verified", "light", None, bounded=False) == LIGHT
    assert settings("verified", "medium", None, bounded=False) == MEDIUM
    assert settings("verified", "heavy", None, bounded=False) == HEAVY
    assert LIGHT.max_steps < MEDIUM.max_steps < HEAVY.max_steps


@pytest.mark.parametrize("steps", [None, 7])
def test_bounds_come_with_small_steps_and_as_many_as_they_allow(steps: int | None) -> None:
    found = settings("verified", None, steps, bounded=True)
    assert isinstance(found, VerifiedConfig)
    assert found.max_steps == (steps or UNBOUNDED)
    assert replace(found, max_steps=LIGHT.max_steps) == LIGHT


def test_own_settings_are_kept_but_for_the_steps() -> None:
    own = VerifiedConfig(asked=2)
    assert settings(own, None, None, bounded=True) is own
    assert settings(own, None, 3, bounded=False) == replace(own, max_steps=3)
    another = PaperConfig(top_k=7)
    assert settings(another, None, None, bounded=False) is another
    assert settings(another, None, 3, bounded=True) == PaperConfig(max_steps=3, top_k=7)


@pytest.mark.parametrize(
    ("schedule", "auto", "steps", "bounded", "message"),
    [
        ("verified", "light", 3, False, "not both"),
        ("verified", "light", None, True, "not both"),
        ("greedy", None, None, False, "schedule must be"),
        ("paper", None, None, False, "schedule must be"),
        ("verified", "huge", None, False, "auto must be"),
        (VerifiedConfig(), "light", None, False, "leave auto out"),
        (PaperConfig(), "light", None, False, r"PaperConfig\(\.\.\.\) already .* leave auto out"),
    ],
)
def test_a_contradiction_is_refused(
    schedule: object, auto: object, steps: int | None, bounded: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        settings(schedule, auto, steps, bounded)  # type: ignore[arg-type]
