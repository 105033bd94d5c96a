"""A toy world in which every loss, gradient and score is known by hand.

The vocabulary is a list of words, a token is a word's index, and the hidden
size equals the vocabulary size: an embedding is a one-hot vector. The loss of an
example is the sum of the weights of the instruction's words, so its gradient at
every position is the vector of weights, and a first-order estimate is exact.

An example is right when that sum is below a threshold; a sampled run is right with the logistic
probability of the distance, and that probability is what a sampled run's completion has.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from dspy_greater.basics.spans import Span
from dspy_greater.model import Generation, Gradient, Sampling, Targeted
from dspy_greater.program import PredictorCall, Run

WORDS = ["read", "answer", "carefully", "slowly", "count", "items", "quickly", "guess", "the", "."]
#: Words that lower or raise the loss of every example; the rest do nothing.
WEIGHTS = {"carefully": -1.0, "count": -2.0, "items": -1.5, "quickly": 1.0, "guess": 2.0}
ANSWER, CONTEXT, RIGHT, WRONG = 100, 101, 102, 103
BASE = 20.0


def weights(example: int) -> torch.Tensor:
    """Loss of each word on an example, ``[vocab]``; later examples feel words a little less."""
    return torch.tensor([WEIGHTS.get(word, 0.0) for word in WORDS]) / (1 + 0.1 * example)


def margin(example: int, ids: Sequence[int]) -> float:
    """How far an instruction is on the right side of an example's threshold."""
    return -float(weights(example)[list(ids)].sum()) - 2


def run_of(example: int, score: float) -> Run:
    """Return a run of the toy world's program."""
    return Run(score, None, calls={"example": [PredictorCall({"index": example}, {})]})


@dataclass
class FakeModel:
    """Scores and gradients of the toy world; ``likely`` are words the model likes to write."""

    likely: tuple[str, ...] = tuple(WORDS)
    nan_examples: frozenset[int] = frozenset()
    backward_items: int = 0
    context: int = 1000

    def loss(self, item: Targeted) -> float:
        kind, example, *ids = item.ids
        if example in self.nan_examples:
            return math.nan
        if kind == ANSWER:
            return BASE + float(weights(example)[ids[:-1]].sum())
        return math.log1p(math.exp(-margin(example, ids[:-1]) * (1 if kind == RIGHT else -1)))

    def word_log_probs(self) -> torch.Tensor:
        liked = torch.tensor([word in self.likely for word in WORDS])
        return torch.log_softmax(liked.float() * 4, dim=-1)

    def log_probs(
        self, items: Sequence[Targeted], *, temperature: float = 1.0
    ) -> list[torch.Tensor]:
        def one(item: Targeted) -> torch.Tensor:
            if item.ids[0] != CONTEXT:
                return torch.tensor([-self.loss(item)])
            return self.word_log_probs()[list(item.ids[2:])]

        return [one(item) for item in items]

    def gradients(self, items: Sequence[Targeted], *, temperature: float = 1.0) -> list[Gradient]:
        def one(item: Targeted) -> Gradient:
            assert item.inputs is not None
            length = item.inputs.end - item.inputs.start
            if item.ids[0] == CONTEXT:
                loss = -float(self.word_log_probs()[list(item.ids[2:])].mean())
                return Gradient(torch.zeros(1), loss, torch.zeros(length, len(WORDS)))
            self.backward_items += 1
            rows = weights(item.ids[1]).repeat(length, 1)
            loss = self.loss(item)
            if item.ids[0] != ANSWER:
                sign = 1 if item.ids[0] == RIGHT else -1
                rows = rows * sign * (1 - math.exp(-loss))
            return Gradient(torch.tensor([-loss]), loss, rows)

        return [one(item) for item in items]

    def next_log_probs(self, sequences: Sequence[Sequence[int]], last: int = 1) -> torch.Tensor:
        return self.word_log_probs().repeat(len(sequences), last, 1)

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Generation]:
        def one(sampling: Sampling) -> Generation:
            rng = random.Random(sampling.seed)
            words = [rng.choice(self.likely) for _ in range(min(5, sampling.max_tokens))]
            ids = tuple(WORDS.index(word) for word in words)
            return Generation(ids, " ".join(words), "stop")

        return [one(sampling) for sampling in samplings]

    def substitution(self, gradient: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
        return gradient[:, list(tokens)]

    def allowed_tokens(self) -> torch.Tensor:
        return torch.ones(len(WORDS), dtype=torch.bool)


@dataclass
class FakeView:
    """Examples of the toy world; an example is right when its loss is below a threshold."""

    model: FakeModel = field(default_factory=FakeModel)
    examples: int = 6
    unstable: frozenset[str] = frozenset()
    roll_outs: list[str] = field(default_factory=list)
    limits: list[int | None] = field(default_factory=list)

    def tokens(self, instruction: str) -> tuple[int, ...]:
        return tuple(WORDS.index(word) for word in instruction.split())

    def text_of(self, tokens: Sequence[int]) -> str | None:
        words = [WORDS[token] for token in tokens]
        return None if self.unstable & set(words) or not words else " ".join(words)

    def roll_out(
        self,
        instructions: Sequence[str],
        examples: Sequence[int] | None = None,
        limit: int | None = None,
    ) -> list[list[Run]]:
        self.roll_outs += instructions
        self.limits.append(limit)
        return [
            [self._run(list(self.tokens(text)), example) for example in self._indices(examples)]
            for text in instructions
        ]

    def repeat(self, instruction: str, examples: Sequence[int]) -> list[Run]:
        return self.roll_out([instruction], examples)[0]

    def sample(
        self,
        instruction: str,
        examples: Sequence[int],
        seeds: Sequence[int],
        temperature: float,
        limit: int | None = None,
    ) -> list[list[Run]]:
        ids = self.tokens(instruction)

        def one(example: int, seed: int) -> Run:
            luck = random.Random(f"{seed} {example} {instruction}").random()
            right = luck < 1 / (1 + math.exp(-margin(example, ids)))
            return run_of(example, float(right))

        return [[one(example, seed) for example in examples] for seed in seeds]

    def completions(self, instruction: str, runs: Sequence[Run]) -> list[list[Targeted]]:
        kinds = [RIGHT if run.score else WRONG for run in runs]
        examples = [run.calls["example"][0].inputs["index"] for run in runs]
        return [[self._item(k, e, instruction)] for k, e in zip(kinds, examples, strict=True)]

    def contexts(
        self, examples: Sequence[int], runs: Sequence[Run] | None = None
    ) -> list[tuple[int, ...]]:
        return [(CONTEXT, example) for example in examples]

    def copied_words(self, instruction: str) -> Sequence[str]:
        return []

    def answers(
        self, instruction: str, runs: Sequence[Run], examples: Sequence[int] | None = None
    ) -> list[Targeted | None]:
        return [self._item(ANSWER, e, instruction) for e in self._indices(examples)]

    def proposals(self, instruction: str, examples: Sequence[int] | None = None) -> list[Targeted]:
        return [self._item(CONTEXT, e, instruction) for e in self._indices(examples)]

    def _indices(self, examples: Sequence[int] | None) -> Sequence[int]:
        return range(self.examples) if examples is None else examples

    def _run(self, ids: list[int], example: int) -> Run:
        return run_of(example, float(margin(example, ids) > 0))

    def _item(self, kind: int, example: int, instruction: str) -> Targeted:
        ids = self.tokens(instruction)
        span = Span(2, 2 + len(ids))
        if kind == CONTEXT:
            return Targeted((kind, example, *ids), targets=span, inputs=span)
        return Targeted((kind, example, *ids, 0), targets=Span(span.end, span.end + 1), inputs=span)
