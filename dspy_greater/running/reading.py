"""A server's answer, read by the white box: of which tokens it is, and how likely it holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import torch

from dspy_greater.basics.spans import Message
from dspy_greater.model import Sampling, WhiteBox


@dataclass(frozen=True)
class Answer:
    """What a server wrote.

    Attributes:
        ended: Whether the server ended it by itself, not at the limit.
        prompt_tokens: How many tokens the server read; 0 where it does not say.
    """

    text: str
    thinking: str = ""
    ended: bool = False
    prompt_tokens: int = 0


@dataclass(frozen=True)
class Reading:
    """An answer as the white box reads it.

    Attributes:
        own: What the white box itself writes there, behind ``read`` tokens.
        table: ``[ids, vocab]`` log-probabilities, from which each of them was chosen.
        end: By how much the white box would rather go on where the server ended its answer.
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
    readings = []
    for messages, prompt, first, answer in zip(prompts, before, own, answers, strict=True):
        text, written = model.encoder.decode(first.ids), _written(model, prompt, answer)
        ids, ended = first.ids, answer.ended
        if written.strip() != text.strip():  # servers may leave out white space around an answer
            # What comes behind half a character, by whatever bytes, cannot be followed.
            written, half, _ = written.partition("\ufffd")
            ids = model.encode(messages, completion=written).ids[len(prompt) :][:limit]
            ended = ended and not half
        table = model.next_log_probs([(*prompt, *ids)], last=len(ids) + 1)[0]
        end = _end(model, (*prompt, *ids), table[-1]) if ended else 0.0
        readings.append(Reading(text, len(prompt), ids, table[:-1], end))
    return readings


def loss(readings: Sequence[Reading]) -> float:
    """Return how far behind the likeliest tokens are in the mean, each at most 1.

    Few that are far off may be near ties that went another way.
    """
    return mean(min(1.0, gap) for reading in readings for gap in reading.gaps())


def _end(model: WhiteBox, ids: tuple[int, ...], row: torch.Tensor) -> float:
    """Return by how much the white box would rather go on; 0 for white space alone."""
    rest = model.generate([ids], [Sampling(max_tokens=2)])[0]
    if not rest.text.strip() and rest.finish == "stop":
        return 0.0
    return float(row.max() - row[list(model.end_ids)].max())


def _written(model: WhiteBox, before: Sequence[int], answer: Answer) -> str:
    """Return all that was written; servers may take out what was thought, with the marks."""
    thinking = model.encoder.thinking
    if not answer.thinking or thinking is None:
        return answer.text
    block = thinking.written(answer.thinking, model.encoder.decode(before))
    if answer.text:
        return block + answer.text
    return block.partition(answer.thinking)[0] + answer.thinking  # the limit came before its end
