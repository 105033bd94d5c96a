"""Which language model runs what: the white box proposes, the target gives the verdict.

Runs say what an instruction is worth. They are the target's, just as it will be deployed: with its
own temperature, limits and stop marks. Without a target they are the white box's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.cost import Meter
from dspy_greater.lm import white_box
from dspy_greater.program import Metric, Predictor, Run, current_adapter
from dspy_greater.program.demos import demos_of
from dspy_greater.program.errors import shown
from dspy_greater.program.predictors import replace_instruction
from dspy_greater.program.rendering import end_marks
from dspy_greater.program.runs import MAX_THREADS, check_own, run_programs
from dspy_greater.running.lms import Target, is_local
from dspy_greater.search.programs import Program

logger = logging.getLogger(__name__)

#: By program, what it is run on.
Examples = Sequence[Sequence[dspy.Example]]


@dataclass
class ProgramRunner:
    """Runs the programs of one compile where they belong, and counts the runs.

    Attributes:
        start: The student as the search sees it.
        predictors: Those whose instructions differ among programs.
        target: What runs programs; None for the white box, ``lm``.
        num_threads: Threads of one evaluation; None for one per run where the model is local, and
            DSPy's setting on a target elsewhere.
        max_errors: Examples that may not fail under the student, or be left without an answer.
    """

    student: dspy.Module
    start: Program
    predictors: Sequence[Predictor]
    train: Sequence[dspy.Example]
    validation: Sequence[dspy.Example]
    metric: Metric
    meter: Meter
    lm: dspy.LM
    target: Target | None = None
    num_threads: int | None = None
    max_errors: int | None = None

    def __post_init__(self) -> None:
        self.meter.engine = self.lm.engine
        self._white_box = _ending_at_marks(self.lm)

    def module(self, program: Program) -> dspy.Module:
        """Return a copy of the student as a program has it, an agent's list of tools behind."""
        changed = [each for each in self.predictors if program[each.name] != each.instruction]
        whole = {each.name: each.whole(program[each.name]) for each in changed}
        module, demos = replace_instruction(self.student, whole), program.demos
        for name, predictor in module.named_predictors() if demos else ():
            if name in program:
                predictor.demos = demos_of(demos, name)
        return module

    def run(
        self, wanted: Mapping[Program, Sequence[int]], limit: int | None = None
    ) -> list[list[Run]]:
        """Run programs on training examples, on what verifies them; see ``search.Runner``."""
        return self._verify({p: [self.train[i] for i in each] for p, each in wanted.items()}, limit)

    def validate(self, programs: Sequence[Program]) -> list[list[float]]:
        """Return each program's scores on the validation examples."""
        results = self._verify(dict.fromkeys(programs, self.validation))
        return [[run.score for run in runs] for runs in results]

    def _verify(
        self, wanted: Mapping[Program, Sequence[dspy.Example]], limit: int | None = None
    ) -> list[list[Run]]:
        """Run programs on the target, which answers as it will when deployed: without the limit.

        What others than the student fail at costs them their score, and nobody else.
        """
        modules, examples = [self.module(program) for program in wanted], [*wanted.values()]
        with self.meter.running():
            if self.target is None:
                results = self._on_white_box(modules, examples, limit)
            else:
                results = self._on_target(self.target, modules, examples)
        errors = dspy.settings.max_errors if self.max_errors is None else self.max_errors
        for (program, own), runs in zip(wanted.items(), results, strict=True):
            if program == self.start:
                check_own(runs, own, errors)
        return results

    def _on_target(
        self, target: Target, modules: Sequence[dspy.Module], examples: Examples
    ) -> list[list[Run]]:
        given = target.given
        lms = None if given is None else [_ending_at_marks(given)] * len(modules)
        if target.is_local:
            return self._run(modules, examples, lms, MAX_THREADS)
        with self.meter.phase("target"):
            return self._run(modules, examples, lms, dspy.settings.num_threads)

    def _on_white_box(
        self,
        modules: Sequence[dspy.Module],
        examples: Examples,
        limit: int | None,
    ) -> list[list[Run]]:
        lm, own = self._white_box, self._white_box.kwargs.get("max_tokens")
        if own is not None and limit is not None:
            lm = lm.copy(max_tokens=min(own, limit))
        return self._run(modules, examples, [lm] * len(modules), MAX_THREADS)

    def _run(
        self,
        modules: Sequence[dspy.Module],
        examples: Examples,
        lms: Sequence[BaseLM] | None,
        num_threads: int,
    ) -> list[list[Run]]:
        """Run programs and count the runs, see :meth:`Meter.book_run`."""
        results = run_programs(
            modules,
            examples,
            self.metric,
            lms=lms,
            num_threads=self.num_threads or num_threads,
            max_errors=self.max_errors,
            thinking=white_box(self.lm).thinks,
            meter=self.meter,
        )
        for own, runs in zip(examples, results, strict=True):
            for example, run in zip(own, runs, strict=True):
                kind = "" if run.parse_failed or not run.raised else type(run.raised).__name__
                if kind and not self.meter.errors:
                    told = "a run failed and counts as wrong, on %s: %s (further ones are counted)"
                    logger.warning(told, shown(example), run.error)
                usage = {} if self.target is None else run.usage  # the white box books its own
                self.meter.book_run(usage, parse_failed=run.parse_failed, error=kind)
        return results


def _ending_at_marks(lm: BaseLM) -> BaseLM:
    """Return a local LM that also stops where the adapter's format ends, any other as it is.

    A server may refuse stop strings, and is to answer as it will when deployed.
    """
    marks, stop = end_marks(current_adapter()), lm.kwargs.get("stop") or ()
    if not marks or not is_local(lm):
        return lm
    return lm.copy(stop=[*([stop] if isinstance(stop, str) else stop), *marks])
