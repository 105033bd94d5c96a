"""The bulk calls on the model that a light compile makes, as formulas in the number of examples.

Read off `dspy_greater/search/verified/`; what depends on what a search finds (how many racers stay
in a race, how long answers are, what shared beginnings save) is measured, see `traced`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dspy_greater.program.runs import MAX_THREADS
from dspy_greater.search.verified import VerifiedConfig
from dspy_greater.search.verified.race import BLOCKS, next_stop
from dspy_greater.search.verified.shortlist import CONTEXTS, FEW_CONTEXTS, INSERTION, LOOKS
from dspy_greater.turns import GRADIENTS

LIGHT = VerifiedConfig()
#: Tokens of a phrase, at most; see `proposals`.
PHRASE = 8
#: Bytes between processes: a token's id, a written token's text, a float, and what frames a row.
#: Ids and frames as pickled: 5 bytes is an id of a large vocabulary.
ID, TEXT, FLOAT, FRAME = 5, 4, 4, 400


@dataclass(frozen=True)
class Sizes:
    """What a compile is about.

    Attributes:
        train: Training examples.
        validation: Validation examples.
        prompt: Tokens of a prompt, the instruction included.
        completion: Tokens of an answer, in the mean.
        longest: Tokens of the longest answer of a call.
        instruction: Tokens of the instruction.
        steps: Steps of the search, the first one, of whole instructions, included.
        tidied: Rounds of taking words away at the end.
        threads: Most runs at a time, on all devices together.
    """

    train: int
    validation: int
    prompt: float
    completion: float
    longest: float
    instruction: float
    steps: int = LIGHT.max_steps
    tidied: float = LIGHT.tidy_rounds
    threads: float = MAX_THREADS


@dataclass(frozen=True)
class Habits:
    """What no formula tells; measured.

    Attributes:
        starts: Of whole instructions that race, the shares that reach 8, 16 and 32 examples.
        edits: The same of edits.
        shorter: Runs that a round of taking words away makes, as a share of the training examples.
        sampled: Sampled rollouts of each example in a step, above its greedy one.
        validated: Instructions that a step takes to the validation examples.
        read: Tokens read to prepare an answer, score or gradient, as a share of the tokens there
            are: of the prompt, or of the prompt and the answer. Shared ones are read once.
        longest: Steps of decoding a call, by the mean length of its answers.
    """

    starts: tuple[float, ...]
    edits: tuple[float, ...]
    shorter: float
    sampled: float
    validated: float
    read: Mapping[str, float]
    longest: float

    @classmethod
    def of(cls, runs: Sequence[Mapping[str, Any]]) -> Habits:
        """Read them off measured compiles."""

        def share(part: Sequence[float], whole: Sequence[float]) -> float:
            return sum(part) / max(sum(whole), 1)

        def reached(group: str) -> tuple[float, ...]:
            races = [run["raced"][group] for run in runs]
            first, *later = (sum(each) for each in zip(*races, strict=True))
            return tuple(count / first if first else 1.0 for count in later)

        def tidying(run: Mapping[str, Any]) -> Sequence[Mapping[str, float]]:
            stages: Sequence[Mapping[str, float]] = run["by_stage"][run["steps"] :]
            return stages

        rows = {
            kind: [run["calls"][kind]["rows"] for run in runs]
            for kind in ("generate", "score", "gradient")
        }
        both = [run["prompt"] + run["completion"] for run in runs]

        def of_both(kind: str, count: str) -> float:
            tokens = [run["counts"][count] for run in runs]
            return share(tokens, [n * each for n, each in zip(rows[kind], both, strict=True)])

        return cls(
            starts=reached("starts"),
            edits=reached("edits"),
            shorter=share(
                [sum(stage.get("generate", 0) for stage in tidying(run)) for run in runs],
                [len(tidying(run)) * run["train"] for run in runs],
            ),
            sampled=share([run["sampled"] for run in runs], [run["steps"] - 1 for run in runs]),
            validated=share([run["validated"] for run in runs], [run["steps"] for run in runs]),
            read={
                "generate": share(
                    [run["counts"]["tokens_prompt"] for run in runs],
                    [run["calls"]["generate"]["full"] for run in runs],
                ),
                "score": of_both("score", "tokens_forward"),
                "gradient": of_both("gradient", "tokens_backward"),
            },
            longest=share(
                [run["counts"]["decoding_steps"] for run in runs],
                [run["calls"]["generate"]["calls"] * run["completion"] for run in runs],
            ),
        )


@dataclass(frozen=True)
class Call:
    """A bulk call on the model, of rows that are alike; any number of them may be averages.

    Attributes:
        kind: ``"generate"``, ``"score"`` or ``"gradient"``.
        rows: Sequences in it.
        read: Tokens read for each.
        targets: Positions of each at which a distribution is asked for, or tokens written.
        held: Tokens before the answer.
        longest: Tokens of the longest answer.
        sent: Bytes that tell another process of a row and bring its result back.
        divides: Whether the rows are divided among the devices; the first one's otherwise.
        runs: Whether a row is a run of the program, with a metric behind it.
        times: How many such calls there are.
    """

    kind: str
    rows: float
    read: float
    targets: float
    held: float = 0
    longest: float = 0
    sent: float = 0
    divides: bool = True
    runs: bool = False
    times: float = 1


@dataclass(frozen=True)
class Compile:
    """The calls of a light compile, stage by stage.

    Args:
        sizes: What it is about.
        habits: What was measured.
        hidden: Width of the model, for the bytes of a gradient.
    """

    sizes: Sizes
    habits: Habits
    hidden: int

    def on(self, devices: float) -> Compile:
        """Return the same compile with as many times the runs at a time, as several devices have.

        Args:
            devices: How many; infinitely many make all runs of a call at a time.
        """
        return replace(self, sizes=replace(self.sizes, threads=self.sizes.threads * devices))

    def stages(self) -> dict[str, list[Call]]:
        """Return the calls of each stage; those of a later step once, see :meth:`calls`."""
        return {
            "start": self.start(),
            "first step": self.first_step(),
            "each later step": self.later_step(),
            "each round of tidying": self.tidying(),
            "record": self.record(),
        }

    def calls(self) -> list[Call]:
        """Return the calls of the whole compile."""
        times = {
            "each later step": self.sizes.steps - 1,
            "each round of tidying": self.sizes.tidied,
        }
        return [
            replace(call, times=call.times * times.get(stage, 1))
            for stage, calls in self.stages().items()
            for call in calls
        ]

    def start(self) -> list[Call]:
        """The program as it is: training examples, validation examples, and half once more."""
        size = self.sizes
        return [*self._run(size.train), *self._run(size.validation), *self._run(size.train / 2)]

    def first_step(self) -> list[Call]:
        """Whole instructions: written, raced, read for fluency, the best one validated."""
        racing = LIGHT.starts + len(LIGHT.instructions)
        return [
            self._write(LIGHT.starts, self.sizes.instruction),
            *self._race(racing, self.habits.starts),
        ]

    def later_step(self) -> list[Call]:
        """Edits: rollouts, slopes, proposals, three looks, a race."""
        edits, terms, size = LIGHT.exact_size, LIGHT.terms, self.sizes
        few = math.ceil(INSERTION * terms)
        fluency = min(FEW_CONTEXTS, size.train)
        calls = self._run(self.habits.sampled * min(LIGHT.rollout_examples, size.train))
        calls += [
            self._distributions(min(CONTEXTS, size.train)),
            self._gradient(terms, fluency),
            self._score(few, fluency),
            *[self._gradient(few, fluency)] * (LIGHT.gaps + 1),
            self._write(LIGHT.phrases, PHRASE),
            self._score(0, fluency * (edits + 1)),
        ]
        for look, share in enumerate(LOOKS):
            seen = max(LIGHT.race_size, edits // 2**look)
            calls.append(self._score(share * terms * (seen + 1), 0))
        return calls + self._race(LIGHT.race_size, self.habits.edits)

    def tidying(self) -> list[Call]:
        """Instructions without one of their words: scored, rated, and run till one holds."""
        words, train = self.sizes.instruction, self.sizes.train
        blocks = len(BLOCKS)  # of one that is run alone: the first two are one
        return [
            self._score(LIGHT.terms * words, min(CONTEXTS, train) * words),
            self._score(0, min(CONTEXTS, train) * (2 * LIGHT.race_size + 1)),
            *self._run(self.habits.shorter * train / blocks) * blocks,
        ]

    def record(self) -> list[Call]:
        """Perplexity before and after, and where gold answers pull."""
        return [
            self._score(0, 2 * min(CONTEXTS, self.sizes.train)),
            self._gradient(min(GRADIENTS, self.sizes.train), 0),
        ]

    def _race(self, racing: int, reach: Sequence[float]) -> list[Call]:
        shares = dict(zip((0, *BLOCKS), (1.0, *reach), strict=True))
        total, done, left, calls = self.sizes.train, 0, 0.0, list[Call]()
        while done < total:
            left = racing * shares[done]
            stop = next_stop(done, max(1, round(left)), total)
            calls += self._run(left * (stop - done))
            done = stop
        calls.append(self._score(0, left * min(CONTEXTS, total)))
        return calls + self._run(self.habits.validated * self.sizes.validation)

    def _run(self, rows: float) -> list[Call]:
        """Runs of the program, at most as many side by side as there are threads."""
        if not rows:
            return []
        size = self.sizes
        waves = max(1, math.ceil(rows / size.threads))
        return [
            Call(
                "generate",
                rows / waves,
                self.habits.read["generate"] * size.prompt,
                size.completion,
                held=size.prompt,
                longest=size.longest,
                sent=_exchanged(size.prompt, size.completion),
                runs=True,
                times=waves,
            )
        ]

    def _write(self, rows: float, tokens: float) -> Call:
        held = self.sizes.prompt
        return Call("generate", rows, held, tokens, held, tokens, _exchanged(held, tokens))

    def _score(self, completions: float, instructions: float) -> Call:
        return self._scored("score", completions, instructions)

    def _gradient(self, completions: float, instructions: float) -> Call:
        positions = FLOAT * self.hidden * self.sizes.instruction
        return self._scored("gradient", completions, instructions, positions)

    def _scored(
        self, kind: str, completions: float, instructions: float, positions: float = 0
    ) -> Call:
        """Rows of which the answer is the target, and rows of which the instruction is.

        A gradient also brings back its ``positions``, so many bytes a row.
        """
        size, rows = self.sizes, completions + instructions
        tokens = size.prompt + size.completion
        targets = (completions * size.completion + instructions * size.instruction) / max(rows, 1)
        sent = FRAME + ID * tokens + FLOAT * targets + positions
        return Call(kind, rows, self.habits.read[kind] * tokens, targets, sent=sent)

    def _distributions(self, rows: float) -> Call:
        """How the model itself would go on at each place of the instruction.

        The first process does this alone: sending distributions takes longer.
        """
        return Call("score", rows, self.sizes.prompt, self.sizes.instruction + 1, divides=False)


def _exchanged(prompt: float, written: float) -> float:
    """Return the bytes of a generation: ids there, ids and text back."""
    return FRAME + ID * prompt + (ID + TEXT) * written


def tokens(calls: Sequence[Call]) -> dict[str, float]:
    """Return the tokens that calls take, by what they are for."""
    total = dict.fromkeys(("generate", "score", "gradient"), 0.0)
    for call in calls:
        written = call.targets if call.kind == "generate" else 0
        total[call.kind] += call.times * call.rows * (call.read + written)
    return total


def runs(calls: Sequence[Call]) -> float:
    """Return how often the program is run."""
    return sum(call.times * call.rows for call in calls if call.runs)
