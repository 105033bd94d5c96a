"""The language models of a compile: the white box and the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.lm import LocalEngine, NotWhiteBoxError, white_box

#: Those that say how an LM is reached, and nothing of what it answers.
REACHED_BY = (
    *("api_key", "api_base", "base_url", "headers", "extra_headers", "timeout", "api_version"),
    *("organization", "project", "extra_query", "custom_llm_provider", "azure_ad_token_provider"),
)


class TargetError(ValueError):
    """It is not clear on which language model the program is to run."""


@dataclass(frozen=True)
class Target:
    """The language models that verify candidates in the place of the white box, by predictor.

    ``given`` is the one that runs all of them, if the user named it.
    """

    lms: dict[str, BaseLM]
    given: BaseLM | None = None

    @property
    def models(self) -> list[str]:
        """Names of the models, each once, without addresses and keys."""
        return list(dict.fromkeys(lm.model for lm in self.lms.values()))

    @property
    def is_local(self) -> bool:
        """Whether all of it runs in this process."""
        return all(is_local(lm) for lm in self.lms.values())

    def __str__(self) -> str:
        return ", ".join(self.models)


def target_of(student: dspy.Module, lm: dspy.LM, target_lm: BaseLM | None = None) -> Target | None:
    """Return what verifies candidates; None where that is the white box itself.

    Without ``target_lm`` it is the program's own LM, each predictor's if they differ.
    """
    lms = program_lms(student)
    lms = lms if target_lm is None else dict.fromkeys(lms, target_lm)
    if all(its is None or same_lm(its, lm) for its in lms.values()):
        return None
    if missing := [name for name, its in lms.items() if its is None]:
        raise TargetError(
            f"predictor {missing[0]!r} has no LM, others of the program have: give it one "
            "(predictor.lm=... or dspy.configure(lm=...)), or say on which to verify candidates, "
            "GreaterTeleprompter(..., target_lm=...)."
        )
    return Target(lms, target_lm)


def program_lms(student: dspy.Module) -> dict[str, Any]:
    """Return, by predictor, the LM that it would use: its own or the configured one."""
    return {
        name: predictor.lm if predictor.lm is not None else dspy.settings.lm
        for name, predictor in student.named_predictors()
    }


def same_lm(one: BaseLM, lm: dspy.LM) -> bool:
    """Whether an LM is the white box, with the same settings."""
    return one is lm or (is_local(one) and one.engine is lm.engine and one.kwargs == lm.kwargs)


def asked(lm: BaseLM) -> dict[str, Any]:
    """Return the settings with which an LM is asked, wherever it is reached."""
    return {name: value for name, value in lm.kwargs.items() if name not in REACHED_BY}


def is_local(lm: BaseLM) -> bool:
    """Whether an LM runs in this process."""
    return isinstance(getattr(lm, "engine", None), LocalEngine)


class LMs(NamedTuple):
    """What proposes, and what verifies; None where the white box does both."""

    white_box: dspy.LM
    target: Target | None


def language_models(student: dspy.Module, lm: dspy.LM | None, target_lm: BaseLM | None) -> LMs:
    """Return the language models that take part, by what the user named."""
    own = _white_box_of(student, lm, target_lm)
    # A program whose own LM is the white box has no other.
    other = lm is not None or target_lm is not None
    return LMs(own, target_of(student, own, target_lm) if other else None)


def _white_box_of(student: dspy.Module, lm: dspy.LM | None, target_lm: BaseLM | None) -> dspy.LM:
    """Return the white box, refusing anything else."""
    if lm is not None:
        white_box(lm)
        return lm
    lms = list(program_lms(student).values())
    for each in lms:
        try:
            white_box(each)
        except NotWhiteBoxError as error:
            if each is None:
                raise
            where = "the program's own LM" if target_lm is None else "target_lm"
            raise NotWhiteBoxError(
                f"{error} With lm= it proposes instructions, which are verified on {where}."
            ) from None
    if len({id(each) for each in lms}) > 1:
        raise NotWhiteBoxError(
            "the program's predictors use several LMs. Say which one is the white box: "
            "GreaterTeleprompter(metric=..., lm=local_lm(...))."
        )
    return cast("dspy.LM", lms[0])
