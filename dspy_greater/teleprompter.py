"""The optimizer as DSPy knows it: settings, checks, and ``compile`` from top to bottom."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import dspy
from dspy.teleprompt import Teleprompter

from dspy_greater.compilation import Compilation
from dspy_greater.lm import NotWhiteBoxError, white_box
from dspy_greater.program import (
    DataError,
    Metric,
    check_dataset,
    check_labels,
    components,
    current_adapter,
)
from dspy_greater.search import PaperConfig


class GreaterTeleprompter(Teleprompter):
    """Improve a program's instructions with gradients over a local model's own reasoning.

    The program runs on a local white box (:func:`dspy_greater.local_lm`). Each predictor
    whose output is labelled in the trainset has its instruction edited token by token:
    the model proposes tokens, the gradient of its loss on the gold answer, taken through
    its own reasoning, ranks them, and the best are tried for real. What is returned is
    the best instruction that beat the old one on examples the search never saw, or the
    program as it was.

    Method: GReaTer (ICLR 2025, arXiv 2412.09722). The names in brackets below are the
    paper's.

    Args:
        metric: ``metric(example, prediction)``, also with DSPy's ``trace`` or GEPA's five
            arguments; returns a bool, a number or ``dspy.Prediction(score=...)``. Higher
            is better.
        lm: A ``local_lm(...)``. Default: the program's own LM, which then must be one.
            With another program LM, instructions are searched and validated on ``lm``;
            the returned program keeps its own.
        schedule: ``"paper"``, the published algorithm: one position at a time, left to
            right, growing until a full stop.
        max_steps: Positions visited for each predictor (T). 40; the authors ran 100-125, and
            80 % of their gain had come by step 31.
        top_k: Likeliest next tokens taken per input (k). 20; the authors used 10-40.
        proposal_inputs: Inputs whose top-k sets are intersected (q). 5.
        intersections: Intersections that are united. 5.
        shortlist: ``"gradient"``, or ``"random"`` to try candidates regardless of the gradient:
            the baseline against which the gradient has to earn its keep.
        shortlist_size: Candidates tried for real at each step (mu). 3.
        fluency_weight: Weight of the instruction's negative log-likelihood (lambda). 0.2.
        temperature: Temperature of the gold answer's cross-entropy. 0.2 as in the authors'
            scripts: close to counting wrong answer tokens.
        max_instruction_tokens: An instruction without a full stop grows up to here. 64.
        max_examples: Training examples used by the search (N), drawn at random from a
            larger trainset. 50.
        confidence: With which an instruction must beat the one it replaces on the
            validation examples, counting every instruction that was tried on them and every
            predictor. 0.95: where nothing is better, 95 runs in 100 change nothing.
        perfect_score: Mean score at which there is nothing left to gain and the search
            stops; None never stops early.
        num_threads: Threads of one evaluation. None: as many as the local model batches.
        max_errors: Failing examples after which an evaluation is given up. None:
            ``dspy.settings.max_errors``.
        seed: Seed of every random choice.
        progress: Show a progress bar: step, loss, best score and instruction so far.

    Raises:
        MetricError: If the metric takes a number of arguments that DSPy never passes.
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        lm: dspy.LM | None = None,
        schedule: Literal["paper"] = "paper",
        max_steps: int = 40,
        top_k: int = 20,
        proposal_inputs: int = 5,
        intersections: int = 5,
        shortlist: Literal["gradient", "random"] = "gradient",
        shortlist_size: int = 3,
        fluency_weight: float = 0.2,
        temperature: float = 0.2,
        max_instruction_tokens: int = 64,
        max_examples: int = 50,
        confidence: float = 0.95,
        perfect_score: float | None = 1.0,
        num_threads: int | None = None,
        max_errors: int | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        super().__init__()
        if schedule != "paper":
            raise ValueError(f"schedule must be 'paper', not {schedule!r}")
        if max_examples < 1:
            raise ValueError(f"max_examples must be at least 1, not {max_examples!r}")
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must be above 0 and below 1, not {confidence!r}")
        self.metric = Metric(metric)
        self.lm = lm
        self.schedule = schedule
        self.config = PaperConfig(
            max_steps=max_steps,
            top_k=top_k,
            proposal_inputs=proposal_inputs,
            intersections=intersections,
            shortlist=shortlist,
            shortlist_size=shortlist_size,
            fluency_weight=fluency_weight,
            temperature=temperature,
            max_instruction_tokens=max_instruction_tokens,
        )
        self.max_examples = max_examples
        self.confidence = confidence
        self.perfect_score = perfect_score
        self.num_threads = num_threads
        self.max_errors = max_errors
        self.seed = seed
        self.progress = progress

    def compile(
        self,
        student: dspy.Module,
        *,
        trainset: list[dspy.Example],
        teacher: dspy.Module | list[dspy.Module] | None = None,
        valset: list[dspy.Example] | None = None,
    ) -> dspy.Module:
        """Return a copy of ``student`` with better instructions, or with its own.

        Args:
            student: The program; never changed. Demos, ``config`` and ``predictor.lm`` are
                kept, and no local LM is built into the result, so its saved JSON runs
                anywhere.
            trainset: Labelled examples, marked ``.with_inputs(...)``.
            teacher: Not used; accepted so that the optimizer composes with others.
            valset: Examples on which instructions are vouched for. Default: a seeded
                hold-out of two fifths of the trainset.

        Returns:
            The program, with the record of the run in ``detailed_results`` and every tried
            instruction, best first, in ``candidate_programs``.

        Raises:
            DataError: If a dataset is empty, unlabelled, or too small to be split.
            NotWhiteBoxError: If the LM gives no gradients.
            InstructionError: If an instruction at the start cannot be edited.
            LossError: If no training example gives a finite loss.
        """
        del teacher
        rng = random.Random(self.seed)
        check_dataset("trainset", trainset, student)
        if valset is not None:
            check_dataset("valset", valset, student)
        lm = self._local_lm(student)
        parts, left_out = components(student, trainset)
        check_labels("trainset", trainset, parts, current_adapter())
        train, validation = self._split(trainset, valset, rng)
        compilation = Compilation(
            student=student,
            train=train,
            validation=validation,
            metric=self.metric,
            lm=lm,
            # Each predictor is another chance to be lucky.
            confidence=1 - (1 - self.confidence) / len(parts),
            perfect_score=self.perfect_score,
            num_threads=self.num_threads,
            max_errors=self.max_errors,
            progress=self.progress,
        )
        compilation.check(parts)
        compilation.record.left_out = left_out
        compilation.record.seed = self.seed
        compilation.record.config = self.get_config()
        for part in parts:
            compilation.improve(part, self.config, rng)
        return compilation.result()

    def get_config(self) -> dict[str, Any]:
        """Return the settings of the search, JSON-able."""
        return {
            "schedule": self.schedule,
            **vars(self.config),
            "max_examples": self.max_examples,
            "confidence": self.confidence,
            "perfect_score": self.perfect_score,
        }

    def _local_lm(self, student: dspy.Module) -> dspy.LM:
        """Return the white box under which the program runs, refusing anything else."""
        lms = [self.lm] if self.lm is not None else _program_lms(student)
        for lm in lms:
            white_box(lm)
        if len({id(lm) for lm in lms}) > 1:
            raise NotWhiteBoxError(
                "the program's predictors use several LMs. Say which one is the white box: "
                "GreaterTeleprompter(metric=..., lm=local_lm(...))."
            )
        return lms[0]

    def _split(
        self,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example] | None,
        rng: random.Random,
    ) -> tuple[list[dspy.Example], list[dspy.Example]]:
        """Draw the search's examples and, without a valset, hold two fifths out."""
        shuffled = rng.sample(list(trainset), len(trainset))
        if valset is not None:
            return shuffled[: self.max_examples], list(valset)
        if len(shuffled) < 2:
            raise DataError(
                "the trainset has 1 example and there is no valset, so none is left to vouch "
                "for a change. Pass more examples, or valset=[...]."
            )
        held_out = max(1, round(0.4 * len(shuffled)))
        return shuffled[held_out:][: self.max_examples], shuffled[:held_out]


def _program_lms(student: dspy.Module) -> list[dspy.LM]:
    """Return the LM that each predictor would use: its own or the configured one."""
    return [
        predictor.lm if predictor.lm is not None else dspy.settings.lm
        for predictor in student.predictors()
    ]
