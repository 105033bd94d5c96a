"""Which language model runs what: the white box proposes, the target gives the verdict.

Two kinds of runs are made in a compile, and they answer different questions.

*Verified* runs say what an instruction is worth: the runs at the start, races, the noise floor,
validation, and the races of the tidying. They belong to the language model on which the program
will be deployed, the target, just as it is deployed: with its own temperature, limits and stop
marks. Whatever is accepted is accepted on these alone.

*Sampled* runs are raw material: rollouts that an objective weighs. They want many seeds, a
temperature, and the distribution of the model whose gradients are taken. They are the white box's.

What the white box would run, of either kind, a server of the same weights may run in its place, the
rollout LM: an engine made for many requests at a time. Gradients, exact scores and what the model
proposes stay in the white box; :mod:`dspy_greater.running.served` sees to it that the weights are
the same.

The white box reads the text of any run, whoever wrote it: a run keeps what its predictors were
asked and answered, and that is rendered, tokenised and scored as if the white box had written it,
what a reasoning model thought before among it, if the white box is one, too.
So the paper's loss is the gold answer's under the white box after the *target's* reasoning, and an
objective that takes up verified runs makes the target's successes likelier under the white box:
they are the ones wanted. How likely they are under the target is not known: edits are proposed by
the slope of one model and have to prove themselves on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.cost import Meter
from dspy_greater.lm import white_box
from dspy_greater.program import (
    MAX_THREADS,
    Metric,
    Predictor,
    Run,
    copy_program,
    current_adapter,
    end_marks,
    replace_instruction,
    run_programs,
)
from dspy_greater.running.lms import Target, is_local, program_lms
from dspy_greater.search.programs import Program

#: Requests at a time that a rollout LM gets. vLLM and SGLang batch what is in flight, 256 requests
#: and more where memory allows. Up to some dozens each further one is nearly free, since decoding
#: waits for weights to be read and not for arithmetic; a longer queue only makes each request wait,
#: and time out, sooner. A program's own work also takes a thread of Python for each.
IN_FLIGHT = 64


@dataclass
class ProgramRunner:
    """Runs the programs of one compile, each kind of run where it belongs, and counts them.

    Args:
        student: The user's program; never changed.
        predictors: Those whose instructions differ among programs.
        train: Training examples.
        validation: Examples on which programs are verified.
        metric: Scores a run of the program.
        meter: Where runs are counted.
        lm: The white box as a DSPy LM.
        target: What candidates are verified on; None for the white box.
        rollout_lm: What runs in the place of the white box, from ``rollouts_of``.
        num_threads: Threads of one evaluation; None for one per run where the model is local,
            :data:`IN_FLIGHT` on a rollout LM elsewhere, and DSPy's setting on a target elsewhere:
            how many requests at a time an API takes is for its user to know.
        max_errors: Failing examples after which an evaluation is given up.
    """

    student: dspy.Module
    predictors: Sequence[Predictor]
    train: Sequence[dspy.Example]
    validation: Sequence[dspy.Example]
    metric: Metric
    meter: Meter
    lm: dspy.LM
    target: Target | None = None
    rollout_lm: BaseLM | None = None
    num_threads: int | None = None
    max_errors: int | None = None

    def __post_init__(self) -> None:
        self.meter.engine = self.lm.engine
        self._sampler = _ending_at_marks(self.rollout_lm or self.lm)

    def module(self, instructions: Mapping[str, str]) -> dspy.Module:
        """Return a copy of the student with some instructions, an agent's list of tools behind."""
        whole = {
            each.name: each.whole(instructions[each.name])
            for each in self.predictors
            if each.name in instructions
        }
        return replace_instruction(self.student, whole)

    def run(
        self, programs: Sequence[Program], examples: Sequence[int], limit: int | None = None
    ) -> list[list[Run]]:
        """Run programs on training examples, on what verifies them; see ``protocols.Runner``."""
        settings: dict[str, Any] = {} if limit is None else {"max_tokens": limit}
        return self._verify(programs, [self.train[i] for i in examples], settings)

    def repeat(self, program: Program, examples: Sequence[int]) -> list[Run]:
        """Run a program once more on training examples, past any cache of earlier answers."""
        (runs,) = self._verify([program], [self.train[i] for i in examples], {"cache": False})
        return runs

    def validate(self, program: Program) -> list[float]:
        """Return a program's scores on the validation examples."""
        (runs,) = self._verify([program], self.validation, {})
        return [run.score for run in runs]

    def sample(
        self,
        program: Program,
        examples: Sequence[int],
        seeds: Sequence[int],
        temperature: float,
        limit: int | None = None,
    ) -> list[list[Run]]:
        """Run a program with sampled outputs of the white box, or what runs in its place."""
        limited = {} if limit is None else {"max_tokens": limit}
        settings = [{"seed": seed, "temperature": temperature, **limited} for seed in seeds]
        modules = [self.module(program.instructions)] * len(seeds)
        return self._on_white_box(modules, [self.train[i] for i in examples], settings)

    def _verify(
        self,
        programs: Sequence[Program],
        examples: Sequence[dspy.Example],
        settings: dict[str, Any],
    ) -> list[list[Run]]:
        """Run programs on the target as it is, or with some settings besides.

        A lower limit on answers is none of them: the target answers as it will when deployed.
        """
        modules = [self.module(program.instructions) for program in programs]
        if self.target is None:
            return self._on_white_box(modules, examples, [settings] * len(modules))
        settings = _without_limit(settings)
        lms: list[BaseLM] | None = None
        if self.target.given is None:
            modules = [_with_own_lms(module, settings) for module in modules]
        else:
            lms = _copies(_ending_at_marks(self.target.given), [settings] * len(modules))
        if self.target.is_local:
            return self._run(modules, examples, lms, self._local_threads, on_target=True)
        with self.meter.phase("target"):
            threads = self.num_threads or dspy.settings.num_threads
            return self._run(modules, examples, lms, threads, on_target=True)

    def _on_white_box(
        self,
        modules: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        settings: Sequence[dict[str, Any]],
    ) -> list[list[Run]]:
        """Run programs on the white box, or what runs in its place, each with settings of its own.

        ``max_tokens`` among them is a limit besides the LM's own.
        """
        lms = _copies(self._sampler, settings)
        if self.rollout_lm is None:
            return self._run(modules, examples, lms, self._local_threads)
        if is_local(self.rollout_lm):
            threads = self._local_threads
        else:
            threads = self.num_threads or IN_FLIGHT
        with self.meter.phase("served"):
            return self._run(modules, examples, lms, threads, on_rollout_lm=True)

    @property
    def _local_threads(self) -> int:
        return self.num_threads or MAX_THREADS

    def _run(
        self,
        modules: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        lms: Sequence[BaseLM] | None,
        num_threads: int | None,
        *,
        on_target: bool = False,
        on_rollout_lm: bool = False,
    ) -> list[list[Run]]:
        results = run_programs(
            modules,
            examples,
            self.metric,
            lms=lms,
            num_threads=num_threads,
            max_errors=self.max_errors,
            thinking=white_box(self.lm).thinks,
            meter=self.meter,
        )
        for run in (run for runs in results for run in runs):
            self.meter.book_run(
                run.usage,
                parse_failed=run.parse_failed,
                on_target=on_target,
                on_rollout_lm=on_rollout_lm,
            )
        return results


def _ending_at_marks(lm: BaseLM) -> BaseLM:
    """Return a local LM that also stops where the adapter's format ends, any other as it is.

    The adapter reads nothing after that mark, so that stopping there only saves tokens. A server
    may refuse stop strings, or more than so many, and is to answer as it will when deployed.
    """
    marks = end_marks(current_adapter())
    if not marks or not is_local(lm):
        return lm
    stop = lm.kwargs.get("stop") or ()
    given = (stop,) if isinstance(stop, str) else tuple(stop)
    return lm.copy(stop=[*given, *marks])


def _copies(lm: BaseLM, settings: Sequence[dict[str, Any]]) -> list[BaseLM]:
    """Return an LM for each of some settings."""
    fitting = [within_limit(lm, each) for each in settings]
    return [lm.copy(**each) if each else lm for each in fitting]


def within_limit(lm: BaseLM, settings: dict[str, Any]) -> dict[str, Any]:
    """Let a limit on answers, ``max_tokens``, only ever lower an LM's own."""
    own, limit = lm.kwargs.get("max_tokens"), settings.get("max_tokens")
    if own is None or limit is None:
        return _without_limit(settings)
    return {**settings, "max_tokens": min(own, limit)}


def _without_limit(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "max_tokens"}


def _with_own_lms(program: dspy.Module, settings: dict[str, Any]) -> dspy.Module:
    """Return the program, or a copy whose predictors use their own LMs with other settings."""
    if not settings:
        return program
    twin = copy_program(program)
    lms = program_lms(twin)
    for name, predictor in twin.named_predictors():
        predictor.lm = lms[name].copy(**settings)
    return twin
