"""How much of everything a verified search does, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from dspy_greater.basics.arguments import check_count, check_positive
from dspy_greater.search.verified.library import MOST_FAMILIES
from dspy_greater.search.verified.race import most_raced

#: Examples whose inputs stand before an instruction where the model goes on with it.
CONTEXTS = 8


@dataclass(frozen=True)
class Sizes:
    """Sizes of the stages of a verified search.

    Args:
        max_steps: Steps for each predictor.
        rollouts: Sampled runs per example, at most; fewer where enough runs count, none where
            enough of the greedy ones do.
        rollout_examples: Training examples that are sampled on.
        sampling_temperature: Of these runs.
        terms: Runs of the current program on which edits are estimated, of those that count for the
            objective. A run costs a pass for each call of the predictor in it.
        exact_size: Edits whose objective is recomputed in each step.
        race_size: Edits that are run for real in each step after the first, up to half of them
            combinations; 0 for none.
        plausible: Tokens for each place, the model's likeliest, among which the gradient chooses;
            its choice is better there than among all, see ``examples/results/README.md``.
        gaps: Places of the instruction at which insertions are rated by gradient; each costs
            another backward pass.
        phrases: Phrases that the model writes in each step.
        library: Whether plain instructions of well-known families race in the first step.
        asked: Whole instructions that a chat model is asked for in each step, in its own template.
        starts: Whole instructions with which the model goes on behind an example, in the first
            step: how a base model is asked.
        instructions: Instructions of your own that race in the first step, too.
        solved_contexts: Examples that are shown with a successful run where the model writes
            phrases and instructions, besides eight that are shown with their inputs alone.
        fluency_weight: Gain in the objective that one nat of the instruction's mean
            log-probability is worth.
        patience: Steps that find nothing better after which the search ends; the first one does
            not count.
        max_instruction_tokens: No instruction is longer than this, but for your own.

    Raises:
        ValueError: If a setting is out of range.
    """

    #: An unlabelled predictor learns from its own outputs in rewarded runs.
    needs_labels: ClassVar[bool] = False

    max_steps: int = 8
    rollouts: int = 4
    rollout_examples: int = 24
    sampling_temperature: float = 1.0
    terms: int = 8
    exact_size: int = 24
    race_size: int = 0
    plausible: int = 40
    gaps: int = 2
    phrases: int = 6
    library: bool = True
    asked: int = 8
    starts: int = 8
    instructions: tuple[str, ...] = ()
    solved_contexts: int = 2
    fluency_weight: float = 0.02
    patience: int = 3
    max_instruction_tokens: int = 200

    @property
    def whole_instructions(self) -> int:
        """Whole instructions that race in the first step, at most."""
        families = MOST_FAMILIES if self.library else 0
        return families + self.asked + self.starts + len(self.instructions)

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples, before the verdict."""
        sampled = self.rollouts * min(self.rollout_examples, train) if self.race_size else 0
        step = sampled + most_raced(self.asked + self.race_size, train) + validation
        first = train + most_raced(self.whole_instructions, train) + validation
        return first + (self.max_steps - 1) * step + validation

    def most_sampled(self, train: int) -> int:
        """Return how many of them are sampled rollouts, which the white box makes, at most."""
        sampled = self.rollouts * min(self.rollout_examples, train) if self.race_size else 0
        return (self.max_steps - 1) * sampled

    def __post_init__(self) -> None:
        may_be_0 = ("asked", "gaps", "phrases", "race_size", "starts", "solved_contexts")
        least = {**dict.fromkeys(may_be_0, 0), "rollouts": 2, "max_instruction_tokens": 2}
        counts = [each.name for each in fields(self) if type(each.default) is int]
        for name in counts:
            check_count(name, getattr(self, name), least.get(name, 1))
        given: object = self.instructions  # a bare string is an easy mistake
        if not isinstance(given, tuple) or not all(isinstance(t, str) and t.strip() for t in given):
            raise ValueError(
                f"instructions must be a tuple of texts that are not empty, not "
                f"{self.instructions!r}"
            )
        check_positive("sampling_temperature", self.sampling_temperature)
        check_positive("fluency_weight", self.fluency_weight, or_zero=True)
