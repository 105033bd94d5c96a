"""The published schedule: one token at a time, left to right, growing until a full stop.

GReaTer, algorithm 1. What differs from the published code is what it got wrong:
the current instruction is always among the scored, so a worse candidate is never kept;
the choice is made by the paper's loss; one backward pass serves all positions
until the instruction changes; nothing is tried twice, and a position visited
again gets new candidates; every edit survives re-tokenising; and everything is
seeded.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from dspy_greater.search.programs import Program
from dspy_greater.search.steps import Attempt, ScheduleState, Step
from examples.published_schedule.objective import AnswerObjective, ExampleGradients, Trial
from examples.published_schedule.proposal import propose
from examples.published_schedule.tokens import allowed_tokens, proposals, text_of
from examples.published_schedule.white_box import GradientBox

if TYPE_CHECKING:
    from dspy_greater.search.scores import ScoreBoard
    from dspy_greater.search.view import PredictorView
    from examples.published_schedule.sizes import PaperSizes

#: An instruction that ends with one of these is complete and need not grow.
SENTENCE_ENDS = (".", "!", "?", "。")


@dataclass
class PaperState(ScheduleState):
    """What the schedule remembers from one step to the next.

    Attributes:
        position: Token position to be edited next.
        tried: Instructions tried so far.
        rng: State of the source of chance; None before the first step.
        skipped: Losses and gradients left out so far because they were not finite.
    """

    position: int = 0
    tried: list[str] = field(default_factory=list)
    rng: list[Any] | None = None
    skipped: int = 0


@dataclass
class PaperSchedule:
    """Improves one predictor's instruction by the published algorithm.

    Args:
        view: The predictor.
        config: The paper's knobs.
        board: Runs programs on training and validation examples.
        seed: Seed of every random choice.
        state: What it remembers.
    """

    view: PredictorView
    config: PaperSizes
    board: ScoreBoard
    seed: str
    state: PaperState
    _trial: Trial | None = field(default=None, init=False, repr=False)
    _slope: ExampleGradients | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.objective = AnswerObjective(self.config.temperature, self.config.fluency_weight)
        self.rng = random.Random(self.seed)
        if self.state.rng is not None:
            version, numbers, gauss = self.state.rng
            self.rng.setstate((version, tuple(numbers), gauss))

    def begin(self, current: Program) -> Attempt:
        """Run the current program on the training examples.

        Raises:
            LossError: If no training example gives a finite loss.
        """
        return self._current(current).attempt("start", None)

    def step(self, current: Program) -> Step | None:
        """Try tokens at one position; None where the search is over.

        Raises:
            LossError: If no training example gives a finite loss or gradient.
        """
        state, name = self.state, self.view.name
        here = self._current(current)
        self.board.validation_score(current)
        if self._finished(current, here):
            return None
        position = self._position(here)
        grows = position == len(here.tokens)
        if self._slope is None and not grows:
            self._slope = self._gradients(here.instruction, here)
        texts = self._shortlist(here, position, None if grows else self._slope)
        tried = self._try_out(current, texts)
        best = max(tried, key=lambda trial: trial.gain_over(here), default=here)
        accepted = best.gain_over(here) > 0
        if accepted:
            current = current.replaced(name, best.instruction)
            self._trial, self._slope = best, None
            self.board.validation_score(current)
        self.board.hold(current)
        state.step, state.position = state.step + 1, position + 1
        version, numbers, gauss = self.rng.getstate()
        state.rng = [version, list(numbers), gauss]
        kind = "insert" if grows else "replace"
        attempts = tuple(trial.attempt(kind, position) for trial in tried)
        loss = (best if accepted else here).loss
        return Step(state.step, attempts, current, accepted, f"loss {loss:.3f}")

    def _current(self, current: Program) -> Trial:
        """Return the current program's trial, made once more in a process that took it up."""
        text = current[self.view.name]
        if self._trial is None or self._trial.instruction != text:
            (self._trial,) = self._try_out(current, [text])
            self.board.hold(current)
        return self._trial

    def _try_out(self, current: Program, instructions: Sequence[str]) -> list[Trial]:
        """Score instructions with fresh reasoning, each once in a run."""
        if not instructions:
            return []
        state, examples = self.state, self.view.examples
        programs = [current.replaced(self.view.name, text) for text in instructions]
        self.board.train(programs, examples)
        self.board.reach(programs)
        runs = [self.board.runs(program, examples) for program in programs]
        trials = self.objective.try_out(self.view, instructions, runs)
        new = [trial for trial in trials if trial.instruction not in state.tried]
        state.skipped += sum(trial.skipped for trial in new)
        state.tried += [trial.instruction for trial in new]
        return trials

    def _finished(self, current: Program, here: Trial) -> bool:
        """Say in ``stopped`` why the search is over, if it is."""
        state = self.state
        if state.step >= self.config.max_steps:
            state.stopped = "all steps taken"
        elif self._perfect(current, here):
            state.stopped = "a perfect score" if state.step else "nothing left to gain"
        return bool(state.stopped)

    def _perfect(self, current: Program, here: Trial) -> bool:
        """Whether neither training nor validation examples leave anything to gain."""
        perfect = self.board.perfect_score
        if perfect is None or here.score < perfect:
            return False
        return self.board.validation_score(current) >= perfect

    def _position(self, here: Trial) -> int:
        """Wrap to the start after a full stop or at the length limit, else allow growth."""
        position, length = self.state.position, len(here.tokens)
        if position < length:
            return position
        full = length >= self.config.max_instruction_tokens
        if position > length or full or here.instruction.endswith(SENTENCE_ENDS):
            return 0
        return length

    def _shortlist(self, here: Trial, position: int, slope: ExampleGradients | None) -> list[str]:
        """Return the mu most promising edits at a position."""
        config, view = self.config, self.view
        current = here.tokens[position] if position < len(here.tokens) else None
        log_probs = self._next_log_probs(here.instruction, position)
        tokens = propose(
            log_probs,
            self._allowed,
            self.rng,
            top_k=config.top_k,
            inputs=config.proposal_inputs,
            intersections=config.intersections,
            at_least=2 * config.shortlist_size,
        )
        candidates = [token for token in tokens if token != current]
        slope = slope or self._gradients_of_growth(here, candidates)
        if slope is None:
            return []
        shortlist: list[str] = []
        for token in self.objective.rank(view, slope, position, log_probs, candidates):
            text = text_of(view, edited(here.tokens, position, token))
            # What was tried lost to an instruction of its time, and would lose again.
            if text is not None and text not in shortlist and text not in self.state.tried:
                shortlist.append(text)
            if len(shortlist) == config.shortlist_size:
                break
        return shortlist

    @cached_property
    def _allowed(self) -> torch.Tensor:
        return allowed_tokens(self.view.model, self.view.scripts)

    def _next_log_probs(self, instruction: str, position: int) -> torch.Tensor:
        """Read ``[examples, vocab]`` after each input and the instruction's first tokens."""
        contexts = proposals(self.view, instruction, self.view.examples)
        prefixes = [item.ids[: item.targets.start + position] for item in contexts]
        return GradientBox.of(self.view.model).next_log_probs(prefixes)

    def _gradients_of_growth(
        self, here: Trial, candidates: Sequence[int]
    ) -> ExampleGradients | None:
        """Take the gradient at a new last position, with the likeliest token as stand-in.

        The reasoning is the current instruction's: the stand-in is there to give the new
        position an embedding, not to be tried.
        """
        for token in candidates:
            text = text_of(self.view, (*here.tokens, token))
            if text is not None:
                return self._gradients(text, here)
        return None

    def _gradients(self, instruction: str, here: Trial) -> ExampleGradients:
        """Take the gradient at an instruction with the current one's reasoning."""
        slope = self.objective.slope(self.view, instruction, here.runs)
        self.state.skipped += slope.skipped
        return slope


def edited(tokens: Sequence[int], position: int, token: int) -> tuple[int, ...]:
    """Return the ids with ``token`` at ``position`` (appended when at the end)."""
    return (*tokens[:position], token, *tokens[position + 1 :])
