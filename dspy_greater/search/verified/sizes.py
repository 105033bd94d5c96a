"""How much of everything a verified search does, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from dspy_greater.basics.arguments import check_count
from dspy_greater.search.verified.library import MOST_FAMILIES
from dspy_greater.search.verified.race import most_raced

#: Examples whose inputs stand before an instruction where the model goes on with it.
CONTEXTS = 8


@dataclass(frozen=True)
class Sizes:
    """Sizes of the stages of a verified search.

    Args:
        max_steps: Steps for each predictor.
        library: Whether the current instruction races with one more sentence, of several families.
        examples: Instructions in each step that show solved training examples, one, two or four,
            behind the current one: with the model's reasoning where it was right. What shows an
            example is not run on it.
        asked: Whole instructions that a chat model is asked for in each step, in its own template.
        starts: Whole instructions with which the model goes on behind an example, in the first
            step: how a base model is asked.
        instructions: Instructions of your own that race in the first step, too.
        patience: Steps that find nothing better after which a search ends, beside the first one.
        max_instruction_tokens: No instruction is longer than this, but for your own.

    Raises:
        ValueError: If a setting is out of range.
    """

    #: An unlabelled predictor learns from its own outputs in rewarded runs.
    needs_labels: ClassVar[bool] = False

    max_steps: int = 1
    library: bool = True
    examples: int = 8
    asked: int = 4
    starts: int = 4
    instructions: tuple[str, ...] = ()
    patience: int = 5
    max_instruction_tokens: int = 500

    @property
    def whole_instructions(self) -> int:
        """Whole instructions that race in the first step, at most."""
        return self._of_every_step + self.starts + len(self.instructions)

    @property
    def _of_every_step(self) -> int:
        return self.examples + self.asked + (MOST_FAMILIES if self.library else 0)

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples, before the verdict."""
        step = most_raced(self._of_every_step, train) + validation
        first = train + most_raced(self.whole_instructions, train) + validation
        return first + (self.max_steps - 1) * step + validation

    def __post_init__(self) -> None:
        least = {"examples": 0, "asked": 0, "starts": 0, "max_instruction_tokens": 2}
        counts = [each.name for each in fields(self) if type(each.default) is int]
        for name in counts:
            check_count(name, getattr(self, name), least.get(name, 1))
        given: object = self.instructions  # a bare string is an easy mistake
        if not isinstance(given, tuple) or not all(isinstance(t, str) and t.strip() for t in given):
            raise ValueError(f"instructions must be a tuple of texts, none empty, not {given!r}")
