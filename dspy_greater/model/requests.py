"""What is asked of a model, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from dspy_greater.basics.arguments import check_count, check_positive
from dspy_greater.basics.spans import Span


@dataclass(frozen=True)
class Sampling:
    """How to generate one text.

    Attributes:
        max_tokens: Most tokens to generate.
        temperature: 0 is greedy.
        top_p: Sample among the likeliest tokens that together have this probability.
        top_k: Sample among this many likeliest tokens; 0 is all.
        stop: Strings that end the text; they are cut off.
        json_object: End the text where its first JSON object is closed; nothing makes it write one.
        seed: Same seed and prompt, same text, whatever the batch; other prompts draw on their
            own. None takes a seed from torch's global state.
    """

    max_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    json_object: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        check_count("max_tokens", self.max_tokens)
        check_positive("temperature", self.temperature, or_zero=True)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}.")
        check_count("top_k", self.top_k, least=0)
        stop: object = self.stop  # a bare string is an easy mistake: it would stop at each letter
        if not isinstance(stop, tuple) or not all(isinstance(s, str) and s for s in stop):
            raise ValueError(f"stop must be a tuple of non-empty strings, not {self.stop!r}.")


@dataclass(frozen=True)
class Generation:
    """One generated text.

    Attributes:
        ids: The generated tokens without the end token. The tokens of a stop string are among
            them: a stop string may begin in the middle of a token.
        text: The text of those behind the block, without special tokens, the stop string cut off.
        finish: ``stop`` at an end token or a stop string, ``length`` at the limit.
        block: How many ids come first in which a reasoning model thinks; see `Thinking.length`.
        thinking: What it thought.
    """

    ids: tuple[int, ...]
    text: str
    finish: Literal["stop", "length"]
    block: int = 0
    thinking: str = ""


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it; ``sampling.max_tokens`` fits the context."""

    prompt: Sequence[int]
    sampling: Sampling


@dataclass(frozen=True)
class Targeted:
    """One sequence, and positions in it.

    Attributes:
        targets: Those whose log-probability is asked: ``log p(ids[t] | ids[:t])``.
        inputs: Those whose embedding gradient is asked (for gradients only).
    """

    ids: Sequence[int]
    targets: Span
    inputs: Span | None = None

    @property
    def rows(self) -> range:
        """Positions whose logits predict the targets."""
        return range(self.targets.start - 1, self.targets.end - 1)


def log_probs_of(logits: torch.Tensor, items: Sequence[Targeted]) -> torch.Tensor:
    """Turn logits ``[rows, vocab]``, item after item, into log-probabilities of the targets."""
    ids = [token for item in items for token in item.ids[slice(*item.targets)]]
    targets = torch.tensor(ids, dtype=torch.long, device=logits.device)
    # Not log_softmax, which would copy the logits.
    return logits.gather(1, targets[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
