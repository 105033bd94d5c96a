"""Which tokens of an instruction carry the gradient."""

from __future__ import annotations

from dataclasses import dataclass

from dspy_greater.record import ExampleGradient, Outcome


@dataclass(frozen=True)
class Token:
    """A token of the instruction in one row of the map.

    Attributes:
        text: What it stands for.
        share: Its part of the row's sum.
        heat: The same, as a part of the row's largest.
    """

    text: str
    share: float
    heat: float


@dataclass(frozen=True)
class Row:
    """One line of the map.

    Attributes:
        tokens: The instruction.
        total: Sum of the norms; None for the mean.
        example: Whose gradient it is; None for the mean.
    """

    tokens: list[Token]
    total: float | None = None
    example: ExampleGradient | None = None


def rows(outcome: Outcome) -> list[Row]:
    """Return the mean and each example; nothing where no gradient is on record.

    In the mean every example counts alike, as in the published ranking: where the answer is
    already sure the gradient is smaller by orders of magnitude, and one that is wrong would
    otherwise drown all others.
    """
    texts = outcome.token_texts
    pulling = [each for each in outcome.gradients if sum(each.norms) > 0]
    if not pulling:
        return []
    shares = [[norm / sum(each.norms) for norm in each.norms] for each in pulling]
    mean = [sum(column) / len(column) for column in zip(*shares, strict=True)]
    return [
        Row(_tokens(texts, mean)),
        *(
            Row(_tokens(texts, share), sum(each.norms), each)
            for share, each in zip(shares, pulling, strict=True)
        ),
    ]


def _tokens(texts: list[str], shares: list[float]) -> list[Token]:
    most = max(shares)
    return [Token(text, s, s / most) for text, s in zip(texts, shares, strict=True)]
