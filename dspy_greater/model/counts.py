"""How much work a white box has done, in sequences and tokens (never in batches)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace


@dataclass
class Counts:
    """Running totals; padding and work repeated after running out of memory are not counted.

    Attributes:
        forwards: Sequences scored without a gradient.
        backwards: Sequences that went forwards and backwards.
        rollouts: Sequences generated.
        tokens_forward: Tokens read without a gradient: scored sequences and rollouts' prompts.
        tokens_backward: Tokens of the sequences counted in ``backwards``.
        tokens_decoded: Tokens generated.
    """

    forwards: int = 0
    backwards: int = 0
    rollouts: int = 0
    tokens_forward: int = 0
    tokens_backward: int = 0
    tokens_decoded: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of every kind."""
        return self.tokens_forward + self.tokens_backward + self.tokens_decoded

    def snapshot(self) -> Counts:
        """A copy that later work does not change."""
        return replace(self)

    def __sub__(self, earlier: Counts) -> Counts:
        """The work done since ``earlier``."""
        return Counts(
            **{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)}
        )

    def to_dict(self) -> dict[str, int]:
        """The totals as plain data."""
        return asdict(self)
