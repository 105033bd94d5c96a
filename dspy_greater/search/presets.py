"""Sizes of a search by the effort that a user wants to spend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from dspy_greater.search.configs import ScheduleConfig
from dspy_greater.search.verified import VerifiedConfig

Effort = Literal["light", "medium", "heavy"]

LIGHT = VerifiedConfig()
MEDIUM = VerifiedConfig(max_steps=16, asked=12, starts=16)
HEAVY = VerifiedConfig(max_steps=48, asked=16, starts=32, patience=10)
EFFORTS: dict[Effort, VerifiedConfig] = {"light": LIGHT, "medium": MEDIUM, "heavy": HEAVY}
#: Where another bound ends the search, steps do not.
UNBOUNDED = 10_000


def settings(
    schedule: Literal["verified"] | ScheduleConfig,
    auto: Effort | None,
    max_steps: int | None,
    bounded: bool,
) -> ScheduleConfig:
    """Return the settings of a search; ``bounded`` by something else than ``max_steps``."""
    if auto is not None and (max_steps is not None or bounded):
        raise ValueError(
            "auto already sets the budget: give auto, or any of max_steps, max_metric_calls, "
            "max_tokens and max_seconds, not both."
        )
    if schedule != "verified":
        given: Any = schedule
        if not hasattr(given, "joint_race"):
            raise ValueError(
                "schedule must be 'verified' or settings such as VerifiedConfig(...), not "
                f"{given!r}"
            )
        if auto is not None:
            raise ValueError(
                f"{type(given).__name__}(...) already sets the sizes of the search: leave auto out."
            )
        return given if max_steps is None else replace(given, max_steps=max_steps)
    if auto is not None and auto not in EFFORTS:
        raise ValueError(f"auto must be 'light', 'medium' or 'heavy', not {auto!r}")
    if max_steps is None and not bounded:
        return EFFORTS[auto or "light"]
    return replace(LIGHT, max_steps=UNBOUNDED if max_steps is None else max_steps)
