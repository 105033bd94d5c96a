"""Sizes of the published schedule, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass

from dspy_greater.basics.arguments import check_count, check_positive


@dataclass(frozen=True)
class PaperSizes:
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

    Raises:
        ValueError: If a knob is out of range.
    """

    max_steps: int = 40
    top_k: int = 20
    proposal_inputs: int = 5
    intersections: int = 5
    shortlist_size: int = 3
    fluency_weight: float = 0.2
    temperature: float = 0.2
    max_instruction_tokens: int = 64

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "top_k",
            "proposal_inputs",
            "intersections",
            "shortlist_size",
            "max_instruction_tokens",
        ):
            check_count(name, getattr(self, name))
        check_positive("temperature", self.temperature)
        check_positive("fluency_weight", self.fluency_weight, or_zero=True)
