"""Which engine generates, by the name that the user gives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from dspy_greater.model.batching import Budget
from dspy_greater.model.counts import Counts
from dspy_greater.model.engines import continuous, vllm
from dspy_greater.model.engines.origin import Origin
from dspy_greater.model.engines.plain import Plain
from dspy_greater.model.errors import LoadingError, ModelError
from dspy_greater.model.forward import Forward
from dspy_greater.model.generation import Decoder
from dspy_greater.model.requests import Generation, Request

logger = logging.getLogger(__name__)

#: ``auto`` is ``continuous`` where that is worthwhile and works, ``generate`` elsewhere.
BACKENDS = ("auto", "generate", "continuous", "vllm")


class GenerationBackend(Protocol):
    """What continues prompts.

    Attributes:
        name: What ``generation_backend`` calls it; never ``auto``.
    """

    name: str

    def generate(self, requests: Sequence[Request], counts: Counts) -> list[Generation]:
        """Continue each prompt by its own settings, in the order given, and count the work."""


def check_backend(name: str, origin: Origin | None) -> None:
    """Refuse a choice that cannot be meant for a model, as far as can be told without weights.

    Args:
        name: One of `BACKENDS`.
        origin: Where the weights come from; None for a model from memory.

    Raises:
        LoadingError: With the reason.
    """
    if name not in BACKENDS:
        raise LoadingError(
            f"generation_backend must be one of {', '.join(map(repr, BACKENDS))}, not {name!r}."
        )
    if name == "vllm":
        vllm.check_possible(origin)


def backend_of(
    name: str,
    plain: Plain,
    decoder: Decoder,
    forward: Forward,
    budget: Budget,
    origin: Origin | None,
) -> GenerationBackend:
    """Make the engine of a name.

    Args:
        name: One of `BACKENDS`.
        plain: What other engines leave to it.
        decoder: The model.
        forward: The same, for a plain pass.
        budget: Tokens in the cache of continuous batching.
        origin: Where the weights come from.

    Raises:
        LoadingError: The engine cannot run this model.
    """
    check_backend(name, origin)
    if name == "vllm":
        assert origin is not None  # checked above
        return vllm.Vllm(decoder, plain, origin)
    if name == "generate" or (name == "auto" and not continuous.is_worthwhile(decoder.model)):
        return plain
    try:
        continuous.check_supported(decoder, forward)
    except ModelError as error:
        if name == "continuous":
            raise
        logger.warning("Generation goes on without continuous batching: %s", error)
        return plain
    return continuous.Continuous(decoder, plain, budget)
