"""How much of everything a verified search does, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from dspy_greater.basics.arguments import check_count, check_positive


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
        race_size: Edits that are run for real in each step, up to half of them combinations.
        plausible: Tokens for each place, the model's likeliest, among which the gradient chooses;
            its choice is better there than among all, see ``examples/results/README.md``.
        gaps: Places of the instruction at which insertions are rated by gradient; each costs
            another backward pass.
        phrases: Phrases that the model writes in each step.
        starts: Whole instructions that the model writes in the first step.
        instructions: Instructions of your own that race in the first step, too.
        solved_contexts: Examples that are shown with a successful run where the model writes
            phrases and instructions, besides eight that are shown with their inputs alone.
        fluency_weight: Gain in the objective that one nat of the instruction's mean
            log-probability is worth.
        multiple: Standard errors by which an edit must beat the current program on the training
            examples.
        patience: Steps without an accepted edit after which the search ends; a first step of
            whole instructions does not count.
        tidy_rounds: Rounds of taking words away at the end.
        max_instruction_tokens: No edit makes the instruction longer than this.

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
    race_size: int = 4
    plausible: int = 40
    gaps: int = 2
    phrases: int = 6
    starts: int = 8
    instructions: tuple[str, ...] = ()
    solved_contexts: int = 2
    fluency_weight: float = 0.02
    multiple: float = 2.0
    patience: int = 3
    tidy_rounds: int = 2
    max_instruction_tokens: int = 64

    @property
    def whole_instructions(self) -> int:
        """Whole instructions that race in the first step, at most."""
        return self.starts + len(self.instructions)

    def most_runs(self, train: int, validation: int) -> int:
        """Return how often the program is run at most, on so many examples."""
        sampled = self.rollouts * min(self.rollout_examples, train)
        raced = train * self.race_size
        first = 2 * train + validation + self.whole_instructions * train
        # Tidying races twice as many as a step.
        tidied = self.tidy_rounds * (2 * self.race_size * train + sampled + validation)
        return first + self.max_steps * (sampled + raced + validation) + tidied

    def most_sampled(self, train: int) -> int:
        """Return how many of them are sampled rollouts, which the white box makes, at most."""
        steps = self.max_steps + self.tidy_rounds
        return steps * self.rollouts * min(self.rollout_examples, train)

    def __post_init__(self) -> None:
        may_be_0 = ("gaps", "phrases", "starts", "solved_contexts", "tidy_rounds")
        least = {**dict.fromkeys(may_be_0, 0), "rollouts": 2, "max_instruction_tokens": 2}
        for name in (each.name for each in fields(self) if isinstance(each.default, int)):
            check_count(name, getattr(self, name), least.get(name, 1))
        given: object = self.instructions  # a bare string is an easy mistake
        if not isinstance(given, tuple) or not all(isinstance(t, str) and t.strip() for t in given):
            raise ValueError(
                f"instructions must be a tuple of texts that are not empty, not "
                f"{self.instructions!r}"
            )
        check_positive("sampling_temperature", self.sampling_temperature)
        for name in ("fluency_weight", "multiple"):
            check_positive(name, getattr(self, name), or_zero=True)
