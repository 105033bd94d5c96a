"""Edits of an instruction's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Literal

#: The last ones are whole instructions: the user's, of the library, written where an example is
#: shown, written when asked for.
Kind = Literal[
    "replace",
    "insert",
    "delete",
    "swap",
    "phrase",
    "merge",
    "given",
    "library",
    "written",
    "asked",
]


@dataclass(frozen=True)
class Edit:
    """Tokens put in the place of ``[start, end)``; ``kind`` says where it comes from."""

    kind: Kind
    start: int
    end: int
    tokens: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the edit puts another instruction in the place of the whole one."""
        return self.kind in ("merge", "given", "library", "written", "asked")

    def apply(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Return the edited ids."""
        return (*tokens[: self.start], *self.tokens, *tokens[self.end :])

    def after(self, other: Edit) -> Edit | None:
        """Return this edit for the ids that ``other`` leaves; None where both touch one place."""
        if self.start >= other.end and (self.start, self.end) != (other.start, other.end):
            by = len(other.tokens) - (other.end - other.start)
            return replace(self, start=self.start + by, end=self.end + by)
        return self if self.end <= other.start else None


@dataclass(frozen=True)
class RatedEdit:
    """An edit that survives rendering and tokenising; what the objective gains by it, if known."""

    edit: Edit
    text: str
    tokens: tuple[int, ...]
    estimate: float | None = None


def merges(edits: Sequence[Edit], tokens: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the ids after each pair of edits, and after as many as go together, best first.

    The edits are of the same ids, the most promising first.
    """
    merged = [
        moved.apply(first.apply(tokens))
        for first, second in combinations(edits, 2)
        if (moved := second.after(first)) is not None
    ]
    if len(edits) > 2:
        merged.insert(0, _all_together(edits, tokens))
    return list(dict.fromkeys(merged))


def _all_together(edits: Sequence[Edit], tokens: Sequence[int]) -> tuple[int, ...]:
    """Apply the edits one after the other, leaving out those that touch a place already edited."""
    done: list[Edit] = []
    result = tuple(tokens)
    for edit in edits:
        moved: Edit | None = edit
        for earlier in done:
            moved = moved.after(earlier) if moved else None
        if moved is not None:
            result = moved.apply(result)
            done.append(moved)
    return result


def small_edits(tokens: Sequence[int]) -> list[Edit]:
    """Return the edits that take one token away, and those that exchange two neighbours."""
    pairs = [(i, pair) for i, pair in enumerate(pairwise(tokens)) if pair[0] != pair[1]]
    return [
        *(Edit("delete", i, i + 1, ()) for i in range(len(tokens)) if len(tokens) > 1),
        *(Edit("swap", i, i + 2, (second, first)) for i, (first, second) in pairs),
    ]
