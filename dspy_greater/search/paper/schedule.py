"""The published schedule: one token at a time, left to right, growing until a full stop.

GReaTer, algorithm 1. What differs from the published code is what it got wrong:
the incumbent is always among the scored, so a worse candidate is never kept;
the choice is made by the paper's loss; one backward pass serves all positions
until the instruction changes; nothing is tried twice, and a position visited
again gets new candidates; every edit survives re-tokenising; and everything is
seeded.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from dspy_greater.search.paper.objective import AnswerObjective, ExampleGradients, Trial
from dspy_greater.search.paper.proposal import propose
from dspy_greater.search.protocols import Subject
from dspy_greater.search.steps import Attempt, Judge

#: An instruction that ends with one of these is complete and need not grow.
SENTENCE_ENDS = (".", "!", "?", "。")


@dataclass(frozen=True)
class PaperConfig:
    """Knobs of the published schedule, with the paper's names in brackets.

    Args:
        max_steps: Positions visited (T; the authors' scripts use 100-125, their logs show
            80 % of the gain by step 31).
        top_k: Next tokens taken per input (k; 10-40 in the scripts).
        proposal_inputs: Inputs per intersection (q; 5).
        intersections: Intersections united (5-6 in the scripts).
        shortlist_size: Candidates re-scored with regenerated reasoning (mu; 3).
        fluency_weight: Weight of the instruction's NLL (lambda; 0.2).
        temperature: Temperature of the answer's cross-entropy (0.2).
        max_instruction_tokens: The instruction grows no further than this.
    """

    max_steps: int = 40
    top_k: int = 20
    proposal_inputs: int = 5
    intersections: int = 5
    shortlist_size: int = 3
    fluency_weight: float = 0.2
    temperature: float = 0.2
    max_instruction_tokens: int = 64

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples."""
        return train * (1 + self.max_steps * self.shortlist_size) + validation * (
            1 + self.max_steps
        )

    def most_sampled(self, train: int) -> int:
        """Return how many of them are sampled rollouts: none."""
        return 0

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "top_k",
            "proposal_inputs",
            "intersections",
            "shortlist_size",
            "max_instruction_tokens",
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature!r}")
        if not self.fluency_weight >= 0:
            raise ValueError(f"fluency_weight must not be negative, not {self.fluency_weight!r}")


@dataclass(frozen=True)
class PaperStep:
    """What one step of the schedule did.

    Attributes:
        number: Counted from 1.
        position: Token position that was edited.
        grew: Whether the step tried to append a token.
        tried: Candidates re-scored, most promising first.
        incumbent: The instruction held after the step.
        accepted: Whether the incumbent changed in this step.
    """

    number: int
    position: int
    grew: bool
    tried: tuple[Trial, ...]
    incumbent: Trial
    accepted: bool

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was run in this step."""
        kind = "insert" if self.grew else "replace"
        return tuple(trial.attempt(kind, self.position) for trial in self.tried)

    @property
    def held(self) -> str:
        """The instruction held after this step."""
        return self.incumbent.instruction

    @property
    def status(self) -> str:
        """A few words for the progress line."""
        return f"loss {self.incumbent.loss:.3f}"


@dataclass
class PaperState:
    """What the schedule remembers from one step to the next, besides its source of chance.

    Attributes:
        incumbent: The instruction held.
        step: Steps taken.
        position: Token position to be edited next.
        tried: Instructions tried so far.
        skipped: Example losses and gradients left out so far because they were not finite.
    """

    incumbent: str
    step: int = 0
    position: int = 0
    tried: list[str] = field(default_factory=list)
    skipped: int = 0


@dataclass
class PaperSchedule:
    """Improves one predictor's instruction by the published algorithm.

    Args:
        subject: The predictor, its program and its training examples.
        config: The paper's knobs.
        rng: Source of every random choice.
        judge: Runs instructions on the validation examples.
        start: The instruction to begin with.

    Attributes:
        stopped: Why the steps ended.
        noise: Not measured by this schedule.
        stood_in: 0; gold answers lead every step of this schedule.
    """

    subject: Subject
    config: PaperConfig
    rng: random.Random
    judge: Judge
    start: str
    stopped: str = field(default="", init=False)
    noise: None = field(default=None, init=False)
    stood_in: int = field(default=0, init=False)
    _trials: dict[str, Trial] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.objective = AnswerObjective(self.config.temperature, self.config.fluency_weight)
        self.state = PaperState(self.start)

    @property
    def skipped(self) -> int:
        """Example losses and gradients left out so far because they were not finite."""
        return self.state.skipped

    def try_out(self, instructions: Sequence[str]) -> tuple[Trial, ...]:
        """Score instructions with fresh reasoning, each once in a run."""
        if new := [text for text in instructions if text not in self._trials]:
            for trial in self.objective.try_out(self.subject, new):
                self.state.skipped += trial.skipped
                self._trials[trial.instruction] = trial
        self.state.tried += [text for text in instructions if text not in self.state.tried]
        return tuple(self._trials[text] for text in instructions)

    def begin(self) -> Attempt:
        """Run the incumbent, at first the instruction at the start, on the training examples.

        Raises:
            LossError: If no training example gives a finite loss.
        """
        return self.try_out([self.state.incumbent])[0].attempt("start", None)

    def steps(self) -> Iterator[PaperStep]:
        """Yield steps from the start on; the caller may stop at any of them.

        Raises:
            LossError: If no training example gives a finite loss or gradient.
        """
        state = self.state
        (incumbent,) = self.try_out([state.incumbent])
        self.judge.score(state.incumbent)
        slope: ExampleGradients | None = None
        while not self._finished(incumbent):
            position = self._next_position(incumbent, state.position)
            grew = position == len(incumbent.tokens)
            if slope is None and not grew:
                slope = self._slope(incumbent.instruction, incumbent)
            tried = self.try_out(self._shortlist(incumbent, position, None if grew else slope))
            best = max(tried, key=lambda trial: trial.gain_over(incumbent), default=incumbent)
            accepted = best.gain_over(incumbent) > 0
            if accepted:
                incumbent, slope = best, None
                self.judge.score(incumbent.instruction)
            state.incumbent, state.position = incumbent.instruction, position + 1
            state.step += 1
            yield PaperStep(state.step, position, grew, tried, incumbent, accepted)

    def dump(self) -> dict[str, Any]:
        """Return, between two steps, all that it takes to go on; JSON-able."""
        return {**asdict(self.state), "rng": self.rng.getstate()}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from what ``dump`` returned."""
        version, numbers, gauss = saved["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))
        self.state = PaperState(**{key: saved[key] for key in saved if key != "rng"})

    def forget(self) -> None:
        """Drop the trials; what lost under another program may win under this one."""
        self._trials.clear()
        self.state.tried.clear()

    def _finished(self, incumbent: Trial) -> bool:
        """Say in ``stopped`` why the search is over, if it is."""
        if self.state.step >= self.config.max_steps:
            self.stopped = "all steps taken"
        elif self.judge.is_perfect(incumbent.instruction, incumbent.score):
            self.stopped = "a perfect score" if self.state.step else "nothing left to gain"
        return bool(self.stopped)

    def _next_position(self, incumbent: Trial, position: int) -> int:
        """Wrap to the start after a full stop or at the length limit, else allow growth."""
        length = len(incumbent.tokens)
        if position < length:
            return position
        full = length >= self.config.max_instruction_tokens
        if position > length or full or incumbent.instruction.endswith(SENTENCE_ENDS):
            return 0
        return length

    def _shortlist(
        self, incumbent: Trial, position: int, slope: ExampleGradients | None
    ) -> list[str]:
        """Return the mu most promising edits at a position."""
        config, subject = self.config, self.subject
        current = incumbent.tokens[position] if position < len(incumbent.tokens) else None
        log_probs = self._next_log_probs(incumbent.instruction, position)
        tokens = propose(
            log_probs,
            subject.model.allowed_tokens(),
            self.rng,
            top_k=config.top_k,
            inputs=config.proposal_inputs,
            intersections=config.intersections,
            at_least=2 * config.shortlist_size,
        )
        candidates = [token for token in tokens if token != current]
        ranked: list[int] = []
        if slope := slope or self._slope_of_growth(incumbent, candidates):
            ranked = self.objective.rank(subject, slope, position, log_probs, candidates)
        shortlist: list[str] = []
        for token in ranked:
            text = subject.text_of(edited(incumbent.tokens, position, token))
            # What was tried lost to an incumbent of its time, and would lose again.
            if text is not None and text not in shortlist and text not in self.state.tried:
                shortlist.append(text)
            if len(shortlist) == config.shortlist_size:
                break
        return shortlist

    def _next_log_probs(self, instruction: str, position: int) -> torch.Tensor:
        """Read ``[examples, vocab]`` after each input and the instruction's first tokens."""
        contexts = self.subject.proposals(instruction)
        prefixes = [item.ids[: item.targets.start + position] for item in contexts]
        return self.subject.model.next_log_probs(prefixes)[:, 0]

    def _slope_of_growth(self, incumbent: Trial, candidates: list[int]) -> ExampleGradients | None:
        """Take the gradient at a new last position, with the likeliest token as stand-in.

        The reasoning is the incumbent's: the stand-in is there to give the new
        position an embedding, not to be tried.
        """
        for token in candidates:
            text = self.subject.text_of((*incumbent.tokens, token))
            if text is not None:
                return self._slope(text, incumbent)
        return None

    def _slope(self, instruction: str, incumbent: Trial) -> ExampleGradients:
        """Take the gradient at an instruction with the incumbent's reasoning."""
        slope = self.objective.slope(self.subject, instruction, incumbent.runs)
        self.state.skipped += slope.skipped
        return slope


def edited(tokens: Sequence[int], position: int, token: int) -> tuple[int, ...]:
    """Return the ids with ``token`` at ``position`` (appended when at the end)."""
    return (*tokens[:position], token, *tokens[position + 1 :])
