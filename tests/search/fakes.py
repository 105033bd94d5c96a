"""A toy world in which every loss, gradient and score is known by hand.

The vocabulary is a list of words, a token is a word's index, and the hidden
size equals the vocabulary size: an embedding is a one-hot vector. The loss of an
example is the sum of the weights of the instruction's words, so its gradient at
every position is the vector of weights, and a first-order estimate is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from dspy_greater.model import Gradient, Targeted
from dspy_greater.program import Run
from dspy_greater.spans import Span

WORDS = ["read", "answer", "carefully", "slowly", "count", "items", "quickly", "guess", "the", "."]
#: Words that lower or raise the loss of every example; the rest do nothing.
WEIGHTS = {"carefully": -1.0, "count": -2.0, "items": -1.5, "quickly": 1.0, "guess": 2.0}
ANSWER, CONTEXT = 100, 101
BASE = 20.0


def weights(example: int) -> torch.Tensor:
    """Loss of each word on an example, ``[vocab]``; later examples feel words a little less."""
    return torch.tensor([WEIGHTS.get(word, 0.0) for word in WORDS]) / (1 + 0.1 * example)


@dataclass
class FakeModel:
    """Scores and gradients of the toy world; ``likely`` are words the model likes to write."""

    likely: tuple[str, ...] = tuple(WORDS)
    nan_examples: frozenset[int] = frozenset()
    backward_items: int = 0

    def loss(self, item: Targeted) -> float:
        _, example, *ids = item.ids
        if example in self.nan_examples:
            return math.nan
        return BASE + float(weights(example)[ids[:-1]].sum())

    def word_log_probs(self) -> torch.Tensor:
        liked = torch.tensor([word in self.likely for word in WORDS])
        return torch.log_softmax(liked.float() * 4, dim=-1)

    def log_probs(
        self, items: Sequence[Targeted], *, temperature: float = 1.0
    ) -> list[torch.Tensor]:
        def one(item: Targeted) -> torch.Tensor:
            if item.ids[0] == ANSWER:
                return torch.tensor([-self.loss(item)])
            return self.word_log_probs()[list(item.ids[2:])]

        return [one(item) for item in items]

    def gradients(self, items: Sequence[Targeted], *, temperature: float = 1.0) -> list[Gradient]:
        def one(item: Targeted) -> Gradient:
            assert item.inputs is not None
            length = item.inputs.end - item.inputs.start
            if item.ids[0] != ANSWER:
                return Gradient(torch.zeros(1), 0.0, torch.zeros(length, len(WORDS)))
            self.backward_items += 1
            rows = weights(item.ids[1]).repeat(length, 1)
            loss = self.loss(item)
            return Gradient(torch.tensor([-loss]), loss, rows)

        return [one(item) for item in items]

    def next_log_probs(self, prefixes: Sequence[Sequence[int]]) -> torch.Tensor:
        return self.word_log_probs().repeat(len(prefixes), 1)

    def substitution(self, gradient: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        return gradient[:, list(tokens)]

    def allowed_tokens(self) -> torch.Tensor:
        return torch.ones(len(WORDS), dtype=torch.bool)


@dataclass
class FakeSubject:
    """Examples of the toy world; an example is right when its loss is below a threshold."""

    model: FakeModel = field(default_factory=FakeModel)
    examples: int = 6
    unstable: frozenset[str] = frozenset()
    roll_outs: list[str] = field(default_factory=list)

    def tokens(self, instruction: str) -> tuple[int, ...]:
        return tuple(WORDS.index(word) for word in instruction.split())

    def substitute(self, instruction: str, position: int, token: int) -> str | None:
        words = instruction.split()
        words[position : position + 1] = [WORDS[token]]
        return None if WORDS[token] in self.unstable else " ".join(words)

    def roll_out(self, instructions: Sequence[str]) -> list[list[Run]]:
        self.roll_outs += instructions
        return [
            [self._run(list(self.tokens(text)), example) for example in range(self.examples)]
            for text in instructions
        ]

    def answers(self, instruction: str, runs: Sequence[Run]) -> list[Targeted | None]:
        return [self._item(ANSWER, e, instruction) for e in range(self.examples)]

    def proposals(self, instruction: str) -> list[Targeted]:
        return [self._item(CONTEXT, e, instruction) for e in range(self.examples)]

    def _run(self, ids: list[int], example: int) -> Run:
        return Run(float(weights(example)[ids].sum() < -2), None)

    def _item(self, kind: int, example: int, instruction: str) -> Targeted:
        ids = self.tokens(instruction)
        span = Span(2, 2 + len(ids))
        if kind == CONTEXT:
            return Targeted((kind, example, *ids), targets=span, inputs=span)
        return Targeted((kind, example, *ids, 0), targets=Span(span.end, span.end + 1), inputs=span)
