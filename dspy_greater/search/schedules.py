"""The schedules there are: their names, their sizes by effort, and how each begins.

Another schedule is another entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dspy_greater.search.paper import PaperConfig, PaperSchedule, PaperState
from dspy_greater.search.programs import Program
from dspy_greater.search.protocols import View
from dspy_greater.search.scores import ScoreBoard
from dspy_greater.search.steps import Schedule
from dspy_greater.search.verified import (
    JointRace,
    SearchState,
    VerifiedConfig,
    VerifiedSchedule,
)

Config = PaperConfig | VerifiedConfig
Effort = Literal["light", "medium", "heavy"]

#: Where another bound ends the search, steps do not.
UNBOUNDED = 10_000


@dataclass(frozen=True)
class Kind:
    """One kind of schedule.

    Attributes:
        sizes: Its settings by the effort that a user wants to spend.
        bounded: Its settings where bounds end the search; they are looked at after each step, so
            steps are small.
        make: Returns a schedule from a view, settings, a score board, a seed, and its state.
        state: Returns its state, at an instruction to begin with or from what was saved.
        whole_instructions: Returns how many whole programs race first where there are several
            predictors; 0 for none.
        race: Returns that race.
    """

    sizes: Mapping[Effort, Any]
    bounded: Any
    make: Callable[[View, Any, ScoreBoard, str, Any], Schedule]
    state: Callable[..., Any]
    whole_instructions: Callable[[Any], int] = lambda config: 0
    race: Callable[[Mapping[str, View], Program, Any, ScoreBoard, str], JointRace] = JointRace


LIGHT = VerifiedConfig()
MEDIUM = VerifiedConfig(
    max_steps=16,
    rollouts=6,
    rollout_examples=32,
    terms=24,
    exact_size=40,
    race_size=5,
    phrases=10,
    starts=16,
    patience=5,
)
HEAVY = VerifiedConfig(
    max_steps=48,
    rollouts=8,
    rollout_examples=50,
    terms=48,
    exact_size=64,
    race_size=6,
    gaps=3,
    phrases=16,
    starts=32,
    patience=10,
)
VERIFIED = Kind(
    sizes={"light": LIGHT, "medium": MEDIUM, "heavy": HEAVY},
    bounded=replace(LIGHT, patience=MEDIUM.patience),
    make=VerifiedSchedule,
    state=SearchState,
    whole_instructions=lambda config: int(config.whole_instructions),
)
PAPER = Kind(
    sizes={
        "light": PaperConfig(max_steps=16),
        "medium": PaperConfig(max_steps=40),
        "heavy": PaperConfig(max_steps=100),
    },
    bounded=PaperConfig(max_steps=16),
    make=PaperSchedule,
    state=PaperState,
)
KINDS = {"verified": VERIFIED, "paper": PAPER}


def kind_of(config: Config) -> Kind:
    """Return the kind of schedule that settings are for."""
    return VERIFIED if isinstance(config, VerifiedConfig) else PAPER


def settings(
    schedule: str | Config,
    auto: Effort | None,
    max_steps: int | None,
    bounded: bool,
) -> Config:
    """Return the settings of a search.

    Args:
        schedule: ``"verified"``, ``"paper"``, or the settings themselves.
        auto: The effort; None where bounds say it, or "light" where nothing does.
        max_steps: A bound on the steps.
        bounded: Whether there is another bound.

    Raises:
        ValueError: If a name is unknown or the effort is given twice.
    """
    if auto is not None and (max_steps is not None or bounded):
        raise ValueError(
            "auto already sets the budget: give auto, or any of max_steps, max_metric_calls, "
            "max_tokens and max_seconds, not both."
        )
    if isinstance(schedule, PaperConfig | VerifiedConfig):
        if auto is not None:
            raise ValueError(
                f"{type(schedule).__name__}(...) already sets the sizes of the search: leave "
                "auto out."
            )
        return schedule if max_steps is None else replace(schedule, max_steps=max_steps)
    if schedule not in KINDS:
        raise ValueError(
            "schedule must be 'verified', 'paper', VerifiedConfig(...) or PaperConfig(...), not "
            f"{schedule!r}"
        )
    kind = KINDS[schedule]
    if auto is not None and auto not in kind.sizes:
        raise ValueError(f"auto must be 'light', 'medium' or 'heavy', not {auto!r}")
    if max_steps is None and not bounded:
        chosen: Config = kind.sizes[auto or "light"]
        return chosen
    return replace(kind.bounded, max_steps=UNBOUNDED if max_steps is None else max_steps)
