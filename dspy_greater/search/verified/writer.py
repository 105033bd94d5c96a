"""Whole instructions from several sources, those that can be run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Literal

from dspy_greater.search.verified.examples import apart, with_examples, worked
from dspy_greater.search.verified.library import library
from dspy_greater.search.verified.proposals import starts
from dspy_greater.search.verified.requests import Material, Rollouts, answers, requests
from dspy_greater.search.verified.sizes import Sizes
from dspy_greater.search.view import PredictorView

#: Where an instruction comes from: the user, the library, worked examples behind the current one,
#: the model, asked or behind an example.
Kind = Literal["given", "library", "examples", "asked", "written"]
#: Most tokens of an instruction that the model is asked for, and of one that it goes on with.
LONGEST, LONGEST_WRITTEN = 200, 64


@dataclass
class Writer:
    """Finds instructions to put in the place of the whole current one.

    Attributes:
        rollouts: The current program's greedy runs.
        second: Another good instruction; empty where there is none.
        examples: Those that are shown where the model goes on with an instruction.
        tried: Instructions that are not to come again.
        first: Whether none but the user's was tried yet: only then comes what the user gave, and
            what does not hang on the current instruction.
        yields: By source, how many there were, how many different ones, how many can be run.
    """

    view: PredictorView
    config: Sizes
    rollouts: Rollouts
    second: str
    examples: Sequence[int]
    rng: random.Random
    tried: set[str]
    first: bool
    yields: dict[str, tuple[int, int, int]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        its, view = self.rollouts, self.view
        self.material = Material.of(view, its, self.second)
        length = len(view.tokens(its.instruction))
        # What is run has to fit the model's context.
        items = view.answers(its.instruction, its.runs, its.examples)
        around = max((len(each.ids) for each in items if each), default=length) - length
        limit = max(self.config.max_instruction_tokens, length)
        self.longest = min(limit, view.model.context - around)
        self.worked = worked(view, its.examples, its.runs, items) if self.config.examples else []

    def instructions(self) -> dict[str, Kind]:
        """Return instructions, each once, and their sources."""
        current, count = self.rollouts.instruction, self.config.examples
        sources: dict[Kind, Sequence[str]] = {
            "library": self._library(),
            "examples": with_examples(current, self.worked, count, self.rng),
            "asked": self._asked(),
        }
        if self.first:
            sources = {"given": self.config.instructions, **sources, "written": self._written()}
        kept: dict[str, Kind] = {}
        for kind, texts in sources.items():
            before = len(kept)
            for text in dict.fromkeys(texts):
                self._keep(kind, text, kept)
            self.yields[kind] = (len(texts), len(set(texts)), len(kept) - before)
        return kept

    def _keep(self, kind: Kind, text: str, kept: dict[str, Kind]) -> None:
        """Keep a text that can be an instruction, was not tried and is not too long."""
        instruction = self.view.instruction(text)
        known = {*self.tried, self.rollouts.instruction, *kept}
        if instruction is None or instruction in known:
            return
        if len(self.view.tokens(instruction)) <= self.longest:
            kept[instruction] = kind

    def _behind(self, texts: Iterable[str]) -> list[str]:
        """Return other words for the examples that the current instruction shows."""
        shown = apart(self.rollouts.instruction)[1]
        return [text + shown for text in texts]

    def _library(self) -> list[str]:
        its = self.material
        if not self.config.library:
            return []
        return self._behind(library(its.instruction, its.fields[-1], its.labels).values())

    def _asked(self) -> list[str]:
        model, count = self.view.model, self.config.asked
        if not count or model.encoder.end_of_turn is None:  # no chat model
            return []
        asked = requests(self.material, self.first, count, self.rng)
        return self._behind(answers(model, asked, min(LONGEST, self.longest), self.rng))

    def _written(self) -> list[str]:
        view, longest = self.view, min(LONGEST_WRITTEN, self.longest)
        return starts(
            view.model, view.contexts(self.examples), self.rng, self.config.starts, longest
        )


def by_turns(found: Mapping[str, Kind]) -> list[str]:
    """Return the user's own instructions, then one of each other source by turns."""
    sources: dict[Kind, list[str]] = {}
    for text, kind in found.items():
        sources.setdefault(kind, []).append(text)
    given = sources.pop("given", [])
    turns = chain.from_iterable(zip_longest(*sources.values()))
    return [*given, *(text for text in turns if text is not None)]
