"""The published objective: cross-entropy of the gold answer plus the instruction's NLL.

GReaTer, section 3.3: ``L = CE(y_hat, y) + lambda * NLL(p)``, where ``y_hat`` is read
after the model's own reasoning and ``NLL(p)`` is the mean negative
log-likelihood of the instruction's tokens after the example's inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import torch

from dspy_greater.search import Attempt
from examples.published_schedule.gradients import substitution
from examples.published_schedule.tokens import proposals
from examples.published_schedule.white_box import GradientBox

if TYPE_CHECKING:
    from dspy_greater.program import Run
    from dspy_greater.search.view import PredictorView


class LossError(RuntimeError):
    """No training example gave a finite loss or gradient, so there is nothing to follow."""


@dataclass(frozen=True)
class Trial:
    """One instruction tried on every training example.

    Attributes:
        instruction: The text that was tried.
        tokens: Its ids inside the rendered prompt.
        runs: The program's runs, one per example.
        losses: ``CE + lambda * NLL`` per example; NaN where it could not be had.
    """

    instruction: str
    tokens: tuple[int, ...]
    runs: Sequence[Run]
    losses: tuple[float, ...]

    @cached_property
    def score(self) -> float:
        """Mean metric over the examples."""
        return sum(run.score for run in self.runs) / len(self.runs)

    @cached_property
    def loss(self) -> float:
        """Mean loss over the examples that have a finite one."""
        finite = [loss for loss in self.losses if math.isfinite(loss)]
        return sum(finite) / len(finite) if finite else math.nan

    @property
    def skipped(self) -> int:
        """How many examples have no finite loss."""
        return sum(not math.isfinite(loss) for loss in self.losses)

    def attempt(self, kind: str, position: int | None) -> Attempt:
        """Return this trial for the record."""
        scores = tuple(run.score for run in self.runs)
        return Attempt(self.instruction, kind, position, scores, estimate=self.loss)

    def gain_over(self, other: Trial) -> float:
        """Mean drop in loss against ``other``, on the examples finite in both (0 if none)."""
        drops = [
            theirs - ours
            for ours, theirs in zip(self.losses, other.losses, strict=True)
            if math.isfinite(ours) and math.isfinite(theirs)
        ]
        return sum(drops) / len(drops) if drops else 0.0


@dataclass(frozen=True)
class ExampleGradients:
    """Per-example gradients at every instruction position, from one backward pass each.

    Attributes:
        answer: d CE / d embedding, ``[positions, hidden]`` per example.
        fluency: d NLL / d embedding, ``[positions, hidden]`` per example. It reaches only
            the tokens *after* each position; the token's own term is added exactly where
            candidates are ranked.
        examples: Index of the training example that each of these belongs to.
        skipped: Examples left out because their gradient was not finite.
    """

    answer: list[torch.Tensor]
    fluency: list[torch.Tensor]
    examples: list[int]
    skipped: int


@dataclass(frozen=True)
class AnswerObjective:
    """Cross-entropy of the gold answer after the model's own reasoning, plus fluency.

    Args:
        temperature: Divides the logits of the answer's cross-entropy. The authors'
            scripts use 0.2, which makes the loss close to a count of wrong tokens.
        fluency_weight: The paper's lambda (0.2 in the authors' scripts).
    """

    temperature: float = 0.2
    fluency_weight: float = 0.2

    def try_out(
        self, view: PredictorView, instructions: Sequence[str], runs: Sequence[Sequence[Run]]
    ) -> list[Trial]:
        """Score instructions on every example, after the reasoning of fresh runs.

        All instructions share the batches of the model: the more rows a batch has, the
        cheaper each of them is.

        Args:
            view: The predictor being improved.
            instructions: Texts.
            runs: For each of them a run on each of the view's examples.

        Raises:
            LossError: If an instruction has no finite loss on any example.
        """
        tried = zip(instructions, runs, strict=True)
        answers = [item for text, own in tried for item in view.answers(text, own, view.examples)]
        contexts = [item for text in instructions for item in proposals(view, text, view.examples)]
        known = [item for item in answers if item is not None]
        answer = iter(view.model.log_probs(known, temperature=self.temperature))
        fluency = iter(view.model.log_probs(contexts))
        losses = iter(
            [
                math.nan
                if item is None
                else -float(next(answer).mean() + self.fluency_weight * nll.mean())
                for item, nll in zip(answers, fluency, strict=True)
            ]
        )
        trials = [
            Trial(text, view.tokens(text), own, tuple(islice(losses, len(own))))
            for text, own in zip(instructions, runs, strict=True)
        ]
        for trial in trials:
            _check(trial)
        return trials

    def slope(self, view: PredictorView, instruction: str, runs: Sequence[Run]) -> ExampleGradients:
        """Take the gradient at all instruction positions, with the reasoning held fixed.

        Raises:
            LossError: If no example has a finite gradient.
        """
        items = view.answers(instruction, runs, view.examples)
        contexts = proposals(view, instruction, view.examples)
        examples = [i for i, item in enumerate(items) if item is not None]
        model = GradientBox.of(view.model)
        answer = model.gradients(
            [item for item in items if item is not None], temperature=self.temperature
        )
        fluency = model.gradients([contexts[i] for i in examples])
        kept = [
            (a.positions, f.positions, i)
            for a, f, i in zip(answer, fluency, examples, strict=True)
            if a.finite and f.finite
        ]
        if not kept:
            raise LossError(
                f"the gradient was NaN or infinite on all {len(items)} training examples. "
                "In half precision, load the model with dtype='float32' or 'bfloat16'."
            )
        answers, fluencies, indices = (list(column) for column in zip(*kept, strict=True))
        return ExampleGradients(answers, fluencies, indices, len(items) - len(kept))

    def rank(
        self,
        view: PredictorView,
        slope: ExampleGradients,
        position: int,
        next_log_probs: torch.Tensor,
        candidates: Sequence[int],
    ) -> list[int]:
        """Order candidate tokens for one position, most promising first.

        The gradient with respect to the one-hot indicator of the position is taken over
        the candidates, normalised per example and summed (paper, section 3.3). To it
        comes the candidate's own share of the fluency term, ``-log p(c | x, p_<i) / l``,
        which no gradient sees since a one-hot only reaches later tokens.

        Args:
            view: The predictor being improved.
            slope: Gradients at the current instruction.
            position: Index of the token to be replaced.
            next_log_probs: ``[examples, vocab]`` next-token log-probabilities after each
                example's inputs and the instruction up to ``position``.
            candidates: Token ids to rank.
        """
        ids = torch.tensor(candidates)
        total = torch.zeros(len(candidates), dtype=torch.float64)
        for answer, fluency, example in zip(
            slope.answer, slope.fluency, slope.examples, strict=True
        ):
            descent = answer[position] + self.fluency_weight * fluency[position]
            first_order = substitution(view.model, descent[None], candidates)[0]
            own = -next_log_probs[example, ids] / len(answer)
            gradient = (first_order + self.fluency_weight * own).double()
            total += gradient / gradient.norm().clamp_min(1e-12)
        order = torch.argsort(total, stable=True)
        return [candidates[i] for i in order.tolist()]


def _check(trial: Trial) -> None:
    if not math.isfinite(trial.loss):
        raise LossError(
            f"none of the {len(trial.losses)} training examples gave a finite loss under the "
            f"instruction {trial.instruction!r}. Check that the model's weights hold no NaN "
            "and, in half precision, load it with dtype='float32' or 'bfloat16'."
        )
