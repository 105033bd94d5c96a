"""A toy world in which every loss, gradient and score is known by hand.

The vocabulary is a list of words, a token is a word's index, and the hidden
size equals the vocabulary size: an embedding is a one-hot vector. The loss of an
example is the sum of the weights of the instruction's words, so its gradient at
every position is the vector of weights, and a first-order estimate is exact.

An example is right when that sum is below a threshold.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch

from dspy_greater.basics.spans import Message, Span
from dspy_greater.model import Generation, Sampling, Targeted
from dspy_greater.model.encoding import Encoding
from dspy_greater.program import PredictorCall, Run
from dspy_greater.search import Program, Schedule, ScoreBoard, Scores, Step
from examples.published_schedule.white_box import Gradient

WORDS = ["read", "answer", "carefully", "slowly", "count", "items", "quickly", "guess", "the", "."]
#: Words that lower or raise the loss of every example; the rest do nothing.
WEIGHTS = {"carefully": -1.0, "count": -2.0, "items": -1.5, "quickly": 1.0, "guess": 2.0}
ANSWER, CONTEXT, ASKED = 100, 101, 102
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


class ToyTokenizer:
    """The words of the toy world."""

    all_special_ids: Sequence[int] = ()
    added_tokens_decoder: Mapping[int, str] = MappingProxyType({})

    def __len__(self) -> int:
        return len(WORDS)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> list[str]:
        return [WORDS[token] for token in ids]

    def batch_decode(self, rows: Sequence[Sequence[int]], **how: Any) -> list[str]:
        return [" ".join(self.convert_ids_to_tokens(ids)) for ids in rows]


class OneHots(torch.nn.Embedding):
    """Words as the toy world's gradients see them: each has a direction of its own."""

    def __init__(self) -> None:
        super().__init__(len(WORDS), len(WORDS), _weight=torch.eye(len(WORDS)))

    def get_input_embeddings(self) -> OneHots:
        return self


@dataclass
class FakeModel:
    """Scores and gradients of the toy world; ``likely`` are words the model likes to write."""

    likely: tuple[str, ...] = tuple(WORDS)
    nan_examples: frozenset[int] = frozenset()
    backward_items: int = 0
    context: int = 1000
    vocab_size: int = len(WORDS)
    device: str = "cpu"
    model: OneHots = field(default_factory=OneHots)
    alone = staticmethod(nullcontext)

    class encoder:  # noqa: N801
        decode = staticmethod(lambda ids: " ".join(WORDS[token] for token in ids))
        special_tokens_in = staticmethod(lambda text: [])
        end_of_turn = None  # a base model
        tokenizer = ToyTokenizer()

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
            return Gradient(torch.tensor([-loss]), loss, rows)

        return [one(item) for item in items]

    def next_log_probs(self, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
        return self.word_log_probs().repeat(len(sequences), 1)

    def generate(
        self, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling]
    ) -> list[Generation]:
        def one(sampling: Sampling) -> Generation:
            rng = random.Random(sampling.seed)
            words = [rng.choice(self.likely) for _ in range(min(5, sampling.max_tokens))]
            ids = tuple(WORDS.index(word) for word in words)
            return Generation(ids, " ".join(words), "stop")

        return [one(sampling) for sampling in samplings]


class FakeChat(FakeModel):
    """A model of the toy world that is asked for instructions, and answers them by chance."""

    class encoder(FakeModel.encoder):  # noqa: N801
        end_of_turn = 0
        thinking = None

    def encode(self, messages: Sequence[Message]) -> Encoding:
        return Encoding((ASKED,), {})


#: The toy world's one predictor, and a second one where there are two.
NAME, OTHER = "toy", "other"


def toy(text: str, **others: str) -> Program:
    """Return a program of the toy world: the text, and the other predictors' if there are any."""
    return Program.of({NAME: text, **others})


def ids_of(text: str) -> tuple[int, ...]:
    """Return a text's tokens."""
    return tuple(WORDS.index(word) for word in text.split())


@dataclass
class FakeView:
    """A predictor of the toy world; ``unstable`` words do not survive rendering."""

    model: FakeModel = field(default_factory=FakeModel)
    size: int = 6
    unstable: frozenset[str] = frozenset()
    name: str = NAME
    scripts: frozenset[str] = frozenset()

    fields = ("answer",)

    @property
    def examples(self) -> Sequence[int]:
        return range(self.size)

    def texts(self, index: int) -> dict[str, str]:
        return {"index": str(index)}

    def label_texts(self, index: int) -> dict[str, str]:
        return {"answer": str(index)}

    def output_texts(self, run: Run) -> dict[str, str]:
        return {}

    def tokens(self, instruction: str) -> tuple[int, ...]:
        return ids_of(instruction)

    def instruction(self, text: str) -> str | None:
        return (
            text
            if set(text.split()) <= set(WORDS) and text and not self.unstable & set(text.split())
            else None
        )

    def answers(
        self, instruction: str, runs: Sequence[Run], examples: Sequence[int]
    ) -> list[Targeted | None]:
        return [self._item(example, instruction) for example in examples]

    def contexts(self, examples: Sequence[int]) -> list[tuple[int, ...]]:
        return [(CONTEXT, example) for example in examples]

    def copied_words(self, instruction: str) -> Sequence[str]:
        return []

    def _item(self, example: int, instruction: str) -> Targeted:
        ids = self.tokens(instruction)
        span, after = Span(2, 2 + len(ids)), Span(2 + len(ids), 3 + len(ids))
        return Targeted((ANSWER, example, *ids, 0), targets=after, inputs=span)


@dataclass
class FakeRunner:
    """Runs programs of the toy world, and remembers what it was asked.

    The words of all predictors count as one instruction's. Validation examples are the training
    examples once more.

    Attributes:
        size: Number of training examples.
        ran: Programs in order, each as often as it was run on some examples.
        runs: Every single run: the program and the example.
        limits: The limit of each call.
        validated: Programs in order, each as often as it was validated.
    """

    size: int = 6
    ran: list[Program] = field(default_factory=list)
    runs: list[tuple[Program, int]] = field(default_factory=list)
    limits: list[int | None] = field(default_factory=list)
    validated: list[Program] = field(default_factory=list)

    def one(self, program: Program, example: int) -> Run:
        """Run a program on an example, without chance; fakes of another kind say how."""
        return run_of(example, float(margin(example, self._ids(program)) > 0))

    def run(
        self, wanted: Mapping[Program, Sequence[int]], limit: int | None = None
    ) -> list[list[Run]]:
        self.ran += wanted
        self.limits.append(limit)
        self.runs += [(program, each) for program, own in wanted.items() for each in own]
        return [[self.one(program, each) for each in own] for program, own in wanted.items()]

    def validate(self, programs: Sequence[Program]) -> list[list[float]]:
        self.validated += programs
        return [[self.one(each, n).score for n in range(self.size)] for each in programs]

    @staticmethod
    def _ids(program: Program) -> list[int]:
        return [token for _, text in program.parts for token in ids_of(text)]


def board_of(runner: FakeRunner, perfect_score: float | None = None) -> ScoreBoard:
    """Return a board on which nothing is known yet."""
    return ScoreBoard(Scores(), runner, runner.size, perfect_score)


def steps_of(schedule: Schedule, start: Program) -> Iterator[Step]:
    """Yield steps of a schedule from a program on until there are no more."""
    current = start
    while (step := schedule.step(current)) is not None:
        current = step.current
        yield step
