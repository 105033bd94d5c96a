"""A server's answer, read by the white box: of which tokens it is, and how likely it holds them.

The white box writes an answer of its own, as far as it leads along the server's; takes the turn
that the server took; and writes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch

from dspy_greater.basics.spans import Message
from dspy_greater.model import Generation, Sampling, WhiteBox

#: Tokens back where another one may have begun, and how many are tried there.
BACK, LIKELIEST = 3, 100


@dataclass(frozen=True)
class Answer:
    """What a server wrote.

    Attributes:
        ended: Whether the server ended it by itself, not at the limit.
        log_probs: Tokens and their log-probabilities, where the server gives them.
        prompt_tokens: How many tokens the server read; 0 where it does not say.
    """

    text: str
    thinking: str = ""
    ended: bool = False
    log_probs: tuple[tuple[str, float], ...] = ()
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Reading:
    """An answer as the white box reads it.

    Attributes:
        own: What the white box itself writes there, behind ``read`` tokens.
        table: ``[ids, vocab]`` log-probabilities, from which each of them was chosen.
        end: By how much the white box would rather go on where the server ended its answer;
            infinite where it went on with what no tokens of the white box make up.
    """

    own: str
    read: int
    ids: tuple[int, ...]
    table: torch.Tensor
    end: float

    def log_probs(self, temperature: float = 1.0) -> torch.Tensor:
        """Return those of the answer's tokens, ``[ids]``."""
        tempered = torch.log_softmax(self.table / temperature, dim=-1)
        return tempered.gather(1, torch.tensor(self.ids, dtype=torch.long)[:, None])[:, 0]

    def gaps(self) -> list[float]:
        """Return by how much the likeliest token is likelier than each of the answer's."""
        return [*(self.table.amax(dim=-1) - self.log_probs()).tolist(), self.end]


def read(
    model: WhiteBox, prompts: Sequence[Sequence[Message]], answers: Sequence[Answer], limit: int
) -> list[Reading]:
    """Let the white box read the answers, of ``limit`` tokens at most, to some prompts."""
    before = [model.encode(messages).ids for messages in prompts]
    own = model.generate(before, [Sampling(max_tokens=limit)] * len(prompts))
    return [
        _Reader(model, ids, answer).read(first, limit)
        for answer, ids, first in zip(answers, before, own, strict=True)
    ]


def loss(readings: Sequence[Reading]) -> float:
    """Return how far behind the likeliest tokens are in the mean, each at most 1.

    Few that are far off may be near ties that went another way.
    """
    return mean(min(1.0, gap) for reading in readings for gap in reading.gaps())


def distances(
    model: WhiteBox, answers: Sequence[Answer], readings: Sequence[Reading]
) -> list[float]:
    """Return how far a server's log-probabilities of tokens are from the white box's, at most 1."""
    found: list[float] = []
    for answer, reading in zip(answers, readings, strict=True):
        pieces, own = model.encoder.pieces(reading.ids), reading.log_probs().tolist()
        for (token, log_prob), piece, its in zip(answer.log_probs, pieces, own, strict=False):
            if token.strip() != piece.strip():
                break  # another way to write the tokens, or another token
            found.append(min(1.0, abs(log_prob - its)))
    return found


class _Reader:
    """Follows an answer, from one token that is not the white box's choice to the next."""

    def __init__(self, model: WhiteBox, before: tuple[int, ...], answer: Answer) -> None:
        self.model, self.before, self.ended = model, before, answer.ended
        self.written = _written(model, before, answer).strip()

    def read(self, own: Generation, limit: int) -> Reading:
        """Read the answer; ``own`` is what the white box writes in its place."""
        text = self.model.encoder.decode(own.ids)
        if "\ufffd" in self.written and self.written != text.strip():
            # Half a character, by whatever bytes; what comes behind cannot be followed.
            self.written, self.ended = self.written.partition("\ufffd")[0], False
        ids, end = self._along((), own.ids), 0.0
        while len(ids) < limit and self._text(ids).rstrip() != self.written:
            if (turned := self._turned(ids)) is None:
                end = math.inf
                break
            ids = self._along(turned, self._onward(turned, max(1, limit - len(turned))).ids)
        rows = self._rows(ids, len(ids) + 1)
        if self.ended and end == 0:
            rest, row = self._onward(ids, 2), rows[-1]
            if rest.text.strip() or rest.finish != "stop":  # it goes on, not with white space alone
                end = float(row.max() - row[list(self.model.end_ids)].max())
        return Reading(text, len(self.before), ids, rows[:-1], end)

    def _text(self, ids: Sequence[int]) -> str:
        """Return an answer's text without white space before it and half a character behind."""
        decoded = self.model.encoder.decode(ids, after=self.before) if ids else ""
        return decoded.lstrip().rstrip("\ufffd")

    def _rows(self, ids: tuple[int, ...], last: int) -> torch.Tensor:
        return self.model.next_log_probs([(*self.before, *ids)], last=last)[0]

    def _onward(self, ids: tuple[int, ...], most: int) -> Generation:
        return self.model.generate([(*self.before, *ids)], [Sampling(max_tokens=most)])[0]

    def _along(self, ids: tuple[int, ...], ahead: tuple[int, ...]) -> tuple[int, ...]:
        """Add those of the tokens ahead that lead along what was written."""
        longer = ((*ids, *ahead[:count]) for count in range(len(ahead), 0, -1))
        fits = (each for each in longer if self.written.startswith(self._text(each).rstrip()))
        return next(fits, ids)

    def _turned(self, ids: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return an answer's tokens, one further than the white box's choices lead.

        That one may begin some tokens back: a line break leads along what begins with one.
        """
        told, back = len(self._text(ids)), min(BACK, len(ids))
        found: list[tuple[float, tuple[int, ...]]] = []
        for kept, row in enumerate(self._rows(ids, back + 1), len(ids) - back):
            best = row.topk(min(LIKELIEST, len(row)))
            for log_prob, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
                turned = (*ids[:kept], token)
                text = self._text(turned)
                if len(text) > told and self.written.startswith(text):
                    found.append((float(row.max()) - log_prob, turned))
                    break
        return min(found)[1] if found else None


def _written(model: WhiteBox, before: Sequence[int], answer: Answer) -> str:
    """Return all that was written; servers may take out what was thought, with the marks."""
    thinking = model.encoder.thinking
    if not answer.thinking or thinking is None:
        return answer.text
    block = thinking.written(answer.thinking, model.encoder.decode(before))
    if answer.text:
        return block + answer.text
    return block.partition(answer.thinking)[0] + answer.thinking  # the limit came before its end
