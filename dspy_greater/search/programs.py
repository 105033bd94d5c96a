"""Programs as values: what is proposed, scored, compared, saved and returned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Names the part of a program that is a set of demos; no predictor can be called so.
DEMOS = "the set of demos"


@dataclass(frozen=True)
class Program:
    """A program as the search sees it: pairs of predictor name and instruction, in its order.

    Equal programs are equal values, so scores are kept by program. Where demos are searched, too,
    a last pair holds them as text, empty for the student's own.
    """

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, instructions: Mapping[str, str]) -> Program:
        """Return the program with these instructions by predictor."""
        return cls(tuple(instructions.items()))

    @property
    def instructions(self) -> dict[str, str]:
        """Instructions by predictor."""
        return dict(self.parts)

    @property
    def demos(self) -> str:
        """The demos as text; empty where they are the student's own."""
        return self.instructions.get(DEMOS, "")

    def __getitem__(self, predictor: str) -> str:
        """Return a predictor's instruction."""
        return self.instructions[predictor]

    def __iter__(self) -> Iterator[str]:
        """Yield the predictors' names."""
        return (name for name, _ in self.parts)

    def replaced(self, predictor: str, instruction: str) -> Program:
        """Return this program with another instruction for one predictor."""
        return Program.of({**self.instructions, predictor: instruction})

    def changes(self, start: Program) -> dict[str, str]:
        """Return the instructions that ``start`` does not have, by predictor."""
        return {name: text for name, text in self.parts if text != start[name]}

    def around(self, predictor: str) -> dict[str, str]:
        """Return the other predictors' instructions."""
        return {name: text for name, text in self.parts if name != predictor}
