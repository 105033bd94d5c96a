"""How much work a white box has done, in sequences and tokens."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from typing_extensions import Self


class Summed:
    """What a dataclass of numbers needs to be added and subtracted field by field."""

    def __add__(self, other: Self) -> Self:
        """Return the sums."""
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return type(self)(**sums)

    def __sub__(self, earlier: Self) -> Self:
        """Return the differences."""
        return type(self)(**{name: n - getattr(earlier, name) for name, n in vars(self).items()})


@dataclass
class Counts(Summed):
    """Running totals; padding and work repeated after running out of memory are not counted.

    Attributes:
        rollouts: Sequences generated.
        tokens_forward: Tokens read to score sequences, without a gradient.
        tokens_backward: Tokens of sequences that went forwards and backwards.
        tokens_prompt: Tokens of prompts read to continue them.
        tokens_decoded: Tokens generated.
        targets_forward: Positions of ``tokens_forward`` at which a distribution was asked for.
        targets_backward: The same of ``tokens_backward``.
        decoding_steps: Passes that added a token to each row of a batch. These depend on the
            batching, as do ``tokens_prompt`` where prompts of a batch begin alike.
        keys_read: Keys that ``tokens_decoded`` attended to, in all.
    """

    rollouts: int = 0
    tokens_forward: int = 0
    tokens_backward: int = 0
    tokens_prompt: int = 0
    tokens_decoded: int = 0
    targets_forward: int = 0
    targets_backward: int = 0
    decoding_steps: int = field(default=0, compare=False)
    keys_read: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of every kind."""
        read = self.tokens_forward + self.tokens_backward + self.tokens_prompt
        return read + self.tokens_decoded

    def snapshot(self) -> Counts:
        """A copy that later work does not change."""
        return replace(self)
