"""Where candidate edits come from, and their order before anything is run.

Single tokens come from the gradient; phrases and whole instructions are written by the model
itself, after an example's inputs. How a chat model is asked for them is told in ``requests``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

from dspy_greater.model import Generation, Sampling, WhiteBox
from dspy_greater.model.encoding import is_plain_text
from dspy_greater.search.verified.edits import Edit, Kind

#: Sampled phrases have between these many tokens.
PHRASE = (2, 8)


@dataclass(frozen=True)
class Rated:
    """First-order gains of each allowed token, ``[positions, candidates]``."""

    kind: Kind
    positions: Sequence[int]
    gains: torch.Tensor


def best_first(
    rated: Sequence[Rated], tokens: Sequence[int], candidates: Sequence[int], per_position: int
) -> Iterator[Edit]:
    """Yield single-token edits by falling gain, at most ``per_position`` for each place."""
    rows = [(each.kind, position) for each in rated for position in each.positions]
    gains = torch.cat([each.gains for each in rated])
    for row, (kind, position) in enumerate(rows):
        if kind == "replace" and tokens[position] in candidates:
            gains[row, candidates.index(tokens[position])] = -torch.inf
    best = gains.topk(min(per_position, gains.shape[1]), dim=1)
    ranked = sorted(
        (-gain, row, column)
        for row, (gain_row, column_row) in enumerate(
            zip(best.values.tolist(), best.indices.tolist(), strict=True)
        )
        for gain, column in zip(gain_row, column_row, strict=True)
        if gain > -torch.inf
    )
    for _, row, column in ranked:
        kind, position = rows[row]
        end = position + 1 if kind == "replace" else position
        yield Edit(kind, position, end, (candidates[column],))


def phrases(
    model: WhiteBox,
    tokens: Sequence[int],
    contexts: Sequence[Sequence[int]],
    rng: random.Random,
    count: int,
) -> list[Edit]:
    """Let the model write a few words at random places of the instruction.

    Each phrase is inserted, or written over as many tokens as it has. It ends with its line, and
    counts only if all of it is plain text.
    """
    places = [rng.randint(0, len(tokens)) for _ in range(count)]
    prompts = [(*rng.choice(contexts), *tokens[:place]) for place in places]
    lengths = [rng.randint(*PHRASE) for _ in places]
    decode, edits = model.encoder.decode, []
    samples = _sampled(model, prompts, max(lengths, default=1), rng)
    for place, length, written in zip(places, lengths, samples, strict=True):
        words = tuple(takewhile(lambda token: "\n" not in decode([token]), written.ids[:length]))
        over = rng.random() < 0.5
        if len(words) >= PHRASE[0] and is_plain_text(decode(words)):
            end = min(place + len(words), len(tokens)) if over else place
            edits.append(Edit("phrase", place, end, words))
    return edits


def starts(
    model: WhiteBox,
    contexts: Sequence[Sequence[int]],
    rng: random.Random,
    count: int,
    max_tokens: int,
) -> list[str]:
    """Let the model go on with whole instructions, each up to a blank line or a special token.

    This is how a base model is asked, and one that was trained on such texts.

    What fills the limit was cut off in the middle, and counts up to its last whole line.
    """
    prompts = [rng.choice(contexts) for _ in range(count)]
    texts = []
    for written in _sampled(model, prompts, max_tokens, rng):
        decoded = model.encoder.decode(written.ids)
        for special in model.encoder.special_tokens_in(decoded):
            decoded = decoded.replace(special, "\n\n")
        text, *rest = decoded.split("\n\n", maxsplit=1)
        if not rest and written.finish != "stop":
            text = text.rpartition("\n")[0]
        if len(written.ids) >= PHRASE[0] and text:
            texts.append(text)
    return texts


def _sampled(
    model: WhiteBox, prompts: Sequence[Sequence[int]], max_tokens: int, rng: random.Random
) -> list[Generation]:
    samplings = [
        Sampling(max_tokens=max_tokens, temperature=1.0, seed=rng.randrange(2**32)) for _ in prompts
    ]
    return model.generate(prompts, samplings)
