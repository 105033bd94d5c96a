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
proposes stay in the white box; :mod:`dspy_greater.served` sees to it that the weights are the same.

The white box reads the text of any run, whoever wrote it: a run keeps what its predictors were
asked and answered, and that is rendered, tokenised and scored as if the white box had written it,
what a reasoning model thought before among it, if the white box is one, too.
So the paper's loss is the gold answer's under the white box after the *target's* reasoning, and an
objective that takes up verified runs makes the target's successes likelier under the white box:
they are the ones wanted. How likely they are under the target is not known: edits are proposed by
the slope of one model and have to prove themselves on the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dspy
from dspy.clients.base_lm import BaseLM

from dspy_greater.lm import LocalEngine, white_box
from dspy_greater.program import (
    MAX_THREADS,
    Metric,
    Run,
    copy_program,
    current_adapter,
    end_marks,
    run_programs,
)

#: Requests at a time that a rollout LM gets. vLLM and SGLang batch what is in flight, 256 requests
#: and more where memory allows. Up to some dozens each further one is nearly free, since decoding
#: waits for weights to be read and not for arithmetic; a longer queue only makes each request wait,
#: and time out, sooner. A program's own work also takes a thread of Python for each.
IN_FLIGHT = 64
#: Settings of the white box that its rollout LM takes over where it has none of its own. Others, as
#: ``top_k`` and stop strings, are not known to every server.
INHERITED = ("temperature", "max_tokens", "top_p")


class TargetError(ValueError):
    """No language model to verify candidates on, or to sample from, can be made out."""


@dataclass(frozen=True)
class Target:
    """The language models that verify candidates in the place of the white box.

    Attributes:
        lms: By predictor, the model that runs it.
        given: The model that runs all of them, if the user named it; None leaves each its own.
    """

    lms: dict[str, BaseLM]
    given: BaseLM | None = None

    @property
    def models(self) -> list[str]:
        """Names of the models, each once; they hold no address and no key."""
        return list(dict.fromkeys(lm.model for lm in self.lms.values()))

    @property
    def is_local(self) -> bool:
        """Whether all of it runs in this process, where many threads share a batch."""
        return all(_is_local(lm) for lm in self.lms.values())

    def __str__(self) -> str:
        return ", ".join(self.models)


def target_of(student: dspy.Module, lm: dspy.LM, target_lm: BaseLM | None = None) -> Target | None:
    """Return what candidates are verified on; None where that is the white box itself.

    Without ``target_lm`` it is the program's own LM, each predictor's if they differ.

    Args:
        student: The program.
        lm: The white box as a DSPy LM.
        target_lm: What the user named.

    Raises:
        TargetError: Some predictors have an LM and others none.
    """
    names = [name for name, _ in student.named_predictors()]
    if target_lm is not None:
        chosen = dict.fromkeys(names, target_lm)
        return None if _same(target_lm, lm) else Target(chosen, target_lm)
    own = program_lms(student)
    lms = {name: its for name, its in own.items() if its is not None}
    if not lms or all(_same(its, lm) for its in lms.values()):
        return None
    if missing := [name for name in names if name not in lms]:
        raise TargetError(
            f"predictor {missing[0]!r} has no LM, others of the program have: give it one "
            "(predictor.lm=... or dspy.configure(lm=...)), or say on which to verify candidates, "
            "GreaterTeleprompter(..., target_lm=...)."
        )
    return Target(lms)


def program_lms(student: dspy.Module) -> dict[str, Any]:
    """Return, by predictor, the LM that it would use: its own or the configured one."""
    return {
        name: predictor.lm if predictor.lm is not None else dspy.settings.lm
        for name, predictor in student.named_predictors()
    }


def rollouts_of(lm: dspy.LM, rollout_lm: BaseLM | None) -> BaseLM | None:
    """Return what runs in the place of the white box; None where that is the white box itself.

    The server answers with the white box's ``temperature``, ``max_tokens`` and ``top_p`` where it
    has none of its own, and past DSPy's cache, which knows a model by its name alone: what another
    server of that name once wrote is not to be taken for this one's.

    Args:
        lm: The white box as a DSPy LM.
        rollout_lm: What the user named.

    Raises:
        TargetError: It is the white box with other settings.
    """
    if rollout_lm is None or _same(rollout_lm, lm):
        return None
    if _is_local(rollout_lm) and rollout_lm.engine is lm.engine:
        raise TargetError(
            f"rollout_lm is the white box {lm.model} itself with other settings: give these to "
            "lm=, or give a server that holds the same weights."
        )
    given = rollout_lm.kwargs
    taken = {name: lm.kwargs.get(name) for name in INHERITED if given.get(name) is None}
    if given.get("max_completion_tokens") is not None:  # another name of the same
        taken.pop("max_tokens", None)
    return rollout_lm.copy(
        cache=False, **{name: value for name, value in taken.items() if value is not None}
    )


@dataclass
class Backend:
    """Runs the programs of one compile, each kind of run where it belongs.

    Args:
        lm: The white box as a DSPy LM.
        target: What candidates are verified on; None for the white box.
        metric: Scores a run of the program.
        num_threads: Threads of one evaluation; None for one per run where the model is local,
            :data:`IN_FLIGHT` on a rollout LM elsewhere, and DSPy's setting on a target elsewhere:
            how many requests at a time an API takes is for its user to know.
        max_errors: Failing examples after which an evaluation is given up.
        rollout_lm: What runs in the place of the white box, from :func:`rollouts_of`.
    """

    lm: dspy.LM
    target: Target | None
    metric: Metric
    num_threads: int | None = None
    max_errors: int | None = None
    rollout_lm: BaseLM | None = None

    def __post_init__(self) -> None:
        self._sampler = _ending_at_marks(self.rollout_lm or self.lm)

    def verify(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        samplings: Sequence[dict[str, Any]] | None = None,
    ) -> list[list[Run]]:
        """Run programs on the target as it is, or each with some settings of its own.

        A lower limit on answers is none of them: the target answers as it will when deployed.
        """
        if self.target is None:
            return self.sample(programs, examples, samplings)
        samplings = samplings and [_without_limit(settings) for settings in samplings]
        lms: list[BaseLM] | None = None
        if self.target.given is None:
            pairs = zip(programs, samplings or [{}] * len(programs), strict=True)
            programs = [_with_own_lms(*pair) for pair in pairs]
        else:
            lms = _copies(_ending_at_marks(self.target.given), programs, samplings)
        if self.target.is_local:
            return self._run(programs, examples, lms, self._local_threads)
        with white_box(self.lm).phases("target"):
            threads = self.num_threads or dspy.settings.num_threads
            return self._run(programs, examples, lms, threads)

    def sample(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        samplings: Sequence[dict[str, Any]] | None = None,
    ) -> list[list[Run]]:
        """Run programs on the white box, or what runs in its place.

        Each has generation settings of its own, if any are given; ``max_tokens`` among them is a
        limit besides the LM's own.
        """
        lms = _copies(self._sampler, programs, samplings)
        if self.rollout_lm is None:
            return self._run(programs, examples, lms, self._local_threads)
        if _is_local(self.rollout_lm):
            threads = self._local_threads
        else:
            threads = self.num_threads or IN_FLIGHT
        with white_box(self.lm).phases("served"):
            return self._run(programs, examples, lms, threads)

    @property
    def _local_threads(self) -> int:
        """As many threads as the local model batches."""
        return self.num_threads or MAX_THREADS

    def _run(
        self,
        programs: Sequence[dspy.Module],
        examples: Sequence[dspy.Example],
        lms: Sequence[BaseLM] | None,
        num_threads: int | None,
    ) -> list[list[Run]]:
        return run_programs(
            programs,
            examples,
            self.metric,
            lms=lms,
            num_threads=num_threads,
            max_errors=self.max_errors,
            thinking=white_box(self.lm).thinks,
        )


def _ending_at_marks(lm: BaseLM) -> BaseLM:
    """Return a local LM that also stops where the adapter's format ends, any other as it is.

    The adapter reads nothing after that mark, so that stopping there only saves tokens. A server
    may refuse stop strings, or more than so many, and is to answer as it will when deployed.
    """
    marks = end_marks(current_adapter())
    if not marks or not _is_local(lm):
        return lm
    stop = lm.kwargs.get("stop") or ()
    given = (stop,) if isinstance(stop, str) else tuple(stop)
    return lm.copy(stop=[*given, *marks])


def _copies(
    lm: BaseLM, programs: Sequence[dspy.Module], samplings: Sequence[dict[str, Any]] | None
) -> list[BaseLM]:
    """Return an LM for each program, with the settings that are given."""
    settings = [within_limit(lm, each) for each in samplings or [{}] * len(programs)]
    return [lm.copy(**each) if each else lm for each in settings]


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


def _same(one: BaseLM, lm: dspy.LM) -> bool:
    """Whether an LM is the white box, with the same settings."""
    return one is lm or (_is_local(one) and one.engine is lm.engine and one.kwargs == lm.kwargs)


def _is_local(lm: BaseLM) -> bool:
    return isinstance(getattr(lm, "engine", None), LocalEngine)
