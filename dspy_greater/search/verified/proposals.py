"""Instructions that the model goes on with behind an example's inputs.

How a chat model is asked for them is told in ``requests``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from dspy_greater.model import Sampling, WhiteBox

#: Fewest tokens of an instruction.
SHORTEST = 2


def starts(
    model: WhiteBox,
    contexts: Sequence[Sequence[int]],
    rng: random.Random,
    count: int,
    max_tokens: int,
) -> list[str]:
    """Let the model go on with whole instructions, each up to a blank line or a special token.

    So a base model is asked. What fills the limit was cut off, and counts to its last whole line.
    """
    prompts = [rng.choice(contexts) for _ in range(count)]
    samplings = [
        Sampling(max_tokens=max_tokens, temperature=1.0, seed=rng.randrange(2**32)) for _ in prompts
    ]
    texts = []
    for written in model.generate(prompts, samplings):
        decoded = model.encoder.decode(written.ids)
        for special in model.encoder.special_tokens_in(decoded):
            decoded = decoded.replace(special, "\n\n")
        text, *rest = decoded.split("\n\n", maxsplit=1)
        if not rest and written.finish != "stop":
            text = text.rpartition("\n")[0]
        if len(written.ids) >= SHORTEST and text:
            texts.append(text)
    return texts
