"""The optimizer as DSPy knows it: settings, checks, and ``compile`` from top to bottom."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import dspy
from dspy.clients.base_lm import BaseLM
from dspy.teleprompt import Teleprompter

from dspy_greater.basics.arguments import check_count, check_function, check_score, check_share
from dspy_greater.conclusion import conclude, finished
from dspy_greater.cost import Bounds
from dspy_greater.lm import NotWhiteBoxError, white_box
from dspy_greater.loop import Loop, Setup
from dspy_greater.program import (
    DataError,
    LabelFn,
    Metric,
    Predictor,
    Selector,
    check_adapter,
    check_dataset,
    check_labels,
    check_media,
    current_adapter,
    given_labels,
    predictors_of,
    relabelled,
    select,
    warn_of_overlap,
)
from dspy_greater.record import Checkpoint, DetailedResults, StepEvent, fingerprint
from dspy_greater.running import (
    ProgramRunner,
    Target,
    check_served,
    program_lms,
    prompts_of,
    rollouts_of,
    target_of,
)
from dspy_greater.search import Program, ScheduleConfig, settings
from dspy_greater.state import CompileState

#: By predictor, its labels for each training example.
Labels = dict[str, list[dspy.Example]]
#: Training examples, validation examples, and labels that are not in the examples.
Data = tuple[list[dspy.Example], list[dspy.Example], Labels]


class LMs(NamedTuple):
    """The language models that take part in a compile.

    Attributes:
        white_box: Proposes.
        target: Verifies; None where the white box does.
        rollout_lm: Runs in the place of the white box; None where itself does.
    """

    white_box: dspy.LM
    target: Target | None
    rollout_lm: BaseLM | None


class GreaterTeleprompter(Teleprompter):
    """Improve a program's instructions with gradients over a local model's own reasoning.

    The program runs on a local white box (:func:`dspy_greater.local_lm`), or one proposes and
    another LM gives the verdict (``target_lm``). Each predictor has its instruction edited: the
    gradient of an objective taken through the model's own reasoning, and the model's own writing,
    propose edits; the most promising are tried for real; and only what is better beyond noise, by
    the metric on the whole program, is accepted. A predictor whose output has no label learns from
    its own outputs in the runs that the metric rewards; the published schedule leaves it out. What
    is returned is the best instruction that beat the old one on examples the search never saw, or
    the program as it was.

    Method: GReaTer (ICLR 2025, arXiv 2412.09722) and what was learned since.

    Args:
        metric: ``metric(example, prediction)``, also with DSPy's ``trace`` or GEPA's five
            arguments; returns a bool, a number or ``dspy.Prediction(score=...)``. Higher
            is better.
        lm: The white box, a ``local_lm(...)``: gradients, proposals and sampled rollouts are
            its. Default: the program's own LM, which then must be one.
        target_lm: The LM on which the program will run, any ``dspy.LM``: an API, a served
            model or another ``local_lm``. Candidates are verified on it: runs at the start,
            races, validation. Default: the program's own LM (each predictor's, if they
            differ), which is the white box itself where ``lm`` is not given. The returned
            program keeps its own LMs in any case. DSPy's retries (``num_retries``) and cache
            are at work as always.
        rollout_lm: A ``dspy.LM`` that serves the same weights as ``lm`` does (vLLM, SGLang,
            ``transformers serve``): all runs of the program that the white box would make go
            there, 64 at a time; gradients, exact scores and proposals stay where they are. With
            another target that is sampled rollouts alone. Where it has no ``temperature``,
            ``max_tokens`` or ``top_p`` those of ``lm`` go along; stop strings do not, and DSPy's
            cache is left out. Before the search it answers a few prompts, and is refused if its
            weights or chat template are others or it does not sample. A server that restarts is
            waited for as long as its retries take: ``num_retries=8`` are about three minutes.
        schedule: ``"verified"``: every accepted edit is proven. For other sizes than those of
            ``auto`` give a :class:`VerifiedConfig`, for a schedule of your own its settings, see
            :class:`~dspy_greater.search.ScheduleConfig`.
        auto: The effort: ``"light"``, ``"medium"`` or ``"heavy"``. Light where nothing else is
            said.
        max_steps: Instead of ``auto``: steps for each predictor.
        max_metric_calls: Instead of ``auto``: scored runs of the program.
        max_tokens: Instead of ``auto``: tokens read and written by the white box, and by
            ``rollout_lm`` in its place as far as it reports them. What another target reads and
            writes is on record, and bounded by ``max_metric_calls``.
        max_seconds: Instead of ``auto``: wall-clock seconds. Bounds are checked after each
            step, so that a run exceeds them by up to a step of each predictor.
        log_dir: Folder in which the state is kept after every step, with a log of events and
            ``best_program.json``. A compile with the same arguments goes on from there, and
            ends as if it had not been interrupted.
        callback: Called after every step with a :class:`StepEvent`; returns True to stop the
            search, which then gives back what it has. Ctrl-C does the same.
        predictors: Which predictors to optimize: a list of names out of
            ``program.named_predictors()``, or what chooses some of the names that it is given;
            None for all. The others are frozen. Bounds are shared evenly. The list of tools in the
            instruction of a ReAct or CodeAct is kept to the letter: what stands before it is
            improved.
        round_robin: Whether predictors take turns of one step each, within the program as it then
            stands, rather than being searched one after the other, each to its end.
        frozen: Names of predictors that keep their instructions:
            ``frozen=["router"]`` is short for
            ``predictors=lambda names: [n for n in names if n != "router"]``.
        label_fn: ``label_fn(example, predictor_name)`` returns the right outputs of a predictor
            by field, ``{"query": example.hop}``; an empty dict or None where it knows none. It
            is asked once for every training example and every predictor to optimize, and what
            it says counts in the place of labels in the examples. Examples without a label
            count by their rewards alone; the published schedule leaves them out.
        max_examples: Training examples used by the search (N), drawn at random from a
            larger trainset. 50.
        confidence: With which an instruction must beat the one it replaces on the
            validation examples, counting every program that was tried on them, whichever
            predictor was searched. 0.95: where nothing is better, 95 runs in 100 change nothing.
        perfect_score: Mean score at which there is nothing left to gain and the search
            stops; None never stops early.
        num_threads: Threads of one evaluation. None: as many as the local model batches, 64 on
            ``rollout_lm``, and ``dspy.settings.num_threads`` where candidates are verified on an
            LM elsewhere.
        max_errors: Failing examples after which an evaluation is given up. None:
            ``dspy.settings.max_errors``. So is one in which an LM gives no answer at all.
        seed: Seed of every random choice.
        progress: Show a progress bar: step, score and instruction so far.

    Raises:
        MetricError: If the metric takes a number of arguments that DSPy never passes.
        TypeError: If ``target_lm`` or ``rollout_lm`` is no DSPy LM.
        ValueError: If a setting is out of range, or effort and bounds are both given.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        lm: dspy.LM | None = None,
        target_lm: BaseLM | None = None,
        rollout_lm: BaseLM | None = None,
        schedule: Literal["verified"] | ScheduleConfig = "verified",
        auto: Literal["light", "medium", "heavy"] | None = None,
        max_steps: int | None = None,
        max_metric_calls: int | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        callback: Callable[[StepEvent], bool | None] | None = None,
        predictors: Selector = None,
        round_robin: bool = False,
        frozen: Sequence[str] = (),
        label_fn: LabelFn | None = None,
        max_examples: int = 50,
        confidence: float = 0.95,
        perfect_score: float | None = 1.0,
        num_threads: int | None = None,
        max_errors: int | None = None,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        super().__init__()
        check_count("max_examples", max_examples)
        check_count("max_steps", max_steps, optional=True)
        check_count("num_threads", num_threads, optional=True)
        check_count("max_errors", max_errors, least=0, optional=True)
        check_count("seed", seed, least=0)
        check_share("confidence", confidence)
        check_score("perfect_score", perfect_score)
        check_function("callback", callback, "that takes a StepEvent")
        check_function(
            "label_fn",
            label_fn,
            "label_fn(example, predictor_name) that returns labels by output field",
        )
        for name, given in {"target_lm": target_lm, "rollout_lm": rollout_lm}.items():
            if given is not None and not isinstance(given, BaseLM):
                raise TypeError(
                    f"{name} must be a dspy.LM, not {given!r}: write dspy.LM('openai/...') or "
                    "local_lm(...)."
                )
        self.metric = Metric(metric)
        self.lm = lm
        self.target_lm = target_lm
        self.rollout_lm = rollout_lm
        self.bounds = Bounds.of(max_metric_calls, max_tokens, max_seconds)
        self.config = settings(schedule, auto, max_steps, bounded=bool(self.bounds))
        self.log_dir = log_dir
        self.callback = callback
        self.predictors = predictors
        self.round_robin = round_robin
        self.frozen = frozen
        self.label_fn = label_fn
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
            valset: Examples on which instructions are verified. Default: a seeded
                hold-out of two fifths of the trainset.

        Returns:
            The program, with the record of the run in ``detailed_results`` and every tried
            instruction, best first, in ``candidate_programs``.

        Raises:
            CheckpointError: If the ``log_dir`` cannot be used or holds another run.
            DataError: If a dataset is empty, unlabelled, or too small to be split, or
                ``label_fn`` fails or returns something that is no label.
            NotWhiteBoxError: If the LM that is to propose gives no gradients.
            ServedError: If ``rollout_lm`` gives no answer, holds other weights than the white box
                or does not sample.
            TargetError: If it is not clear on which LM a predictor is to be verified, or
                ``rollout_lm`` is the white box itself with other settings.
            InstructionError: If an instruction at the start cannot be edited.
            LossError: If no training example gives a finite loss.
            ProgramError: If the student has nothing that can be optimized.
            RenderingError: If the adapter or a field keeps a prompt from being text.
            TooManyErrorsError: If too many runs fail, or an LM gives no answer.
        """
        del teacher
        check_dataset("trainset", trainset, student)
        if valset is not None:
            check_dataset("valset", valset, student)
            warn_of_overlap(trainset, valset)
        lm = self._local_lm(student)
        lms = self._lms(student, lm)
        found = predictors_of(student, trainset)
        check_media(found)
        train, validation = self._split(trainset, valset, random.Random(self.seed))
        predictors, left_out, labels = self._chosen(student, found, trainset, train)
        if valset is None:
            warn_of_overlap(train, validation)
        data = (train, validation, labels)
        with self._checkpoint(student, predictors, data, lms) as checkpoint:
            loop = self._loop(student, predictors, data, lms, checkpoint)
            self._check(loop)
            loop.state.record.left_out = left_out
            if not loop.state.record.outcomes:  # it was not over when it was saved
                loop.run()
                conclude(loop)
            return finished(student, loop)

    def _lms(self, student: dspy.Module, lm: dspy.LM) -> LMs:
        """Return the language models that take part."""
        # A program whose own LM is the white box has no other.
        other = self.lm is not None or self.target_lm is not None
        target = target_of(student, lm, self.target_lm) if other else None
        return LMs(lm, target, rollouts_of(lm, self.rollout_lm))

    def _loop(
        self,
        student: dspy.Module,
        predictors: Sequence[Predictor],
        data: Data,
        lms: LMs,
        checkpoint: Checkpoint | None,
    ) -> Loop:
        """Return the loop at its beginning, or where the ``log_dir`` left it."""
        train, validation, labels = data
        model = white_box(lms.white_box)
        start = Program.of({each.name: each.instruction for each in predictors})
        if checkpoint is not None and checkpoint.state is not None:
            state = CompileState.load(checkpoint.state, self.config)
        else:
            state = CompileState(start, start, record=self._record(data, lms))
        runner = ProgramRunner(
            student=student,
            predictors=predictors,
            train=train,
            validation=validation,
            metric=self.metric,
            meter=state.meter,
            lm=lms.white_box,
            target=lms.target,
            rollout_lm=lms.rollout_lm,
            num_threads=self.num_threads,
            max_errors=self.max_errors,
        )
        setup = Setup(
            predictors=predictors,
            train=train,
            validation=validation,
            labels=labels,
            runner=runner,
            model=model.metered(state.meter),
            adapter=current_adapter(),
            config=self.config,
            bounds=self.bounds,
            seed=self.seed,
            confidence=self.confidence,
            perfect_score=self.perfect_score,
            round_robin=self.round_robin,
            callback=self.callback,
            checkpoint=checkpoint,
            progress=self.progress,
        )
        return Loop(setup, state)

    def _record(self, data: Data, lms: LMs) -> DetailedResults:
        """Return a record with all that is known before the search."""
        model = white_box(lms.white_box)
        return DetailedResults(
            train_examples=len(data[0]),
            validation_examples=len(data[1]),
            seed=self.seed,
            config=self.get_config(),
            model=f"{model.name}@{model.fingerprint}",
            target=str(lms.target or ""),
            rollout_lm=lms.rollout_lm.model if lms.rollout_lm else "",
        )

    def _check(self, loop: Loop) -> None:
        """Refuse what cannot be searched, or not run in the white box's place, before long work."""
        setup, start = loop.setup, loop.state.start
        for predictor in setup.predictors:
            loop.view(predictor, start).check()
        if setup.runner.rollout_lm is not None:
            prompts = prompts_of(setup.predictors, setup.train, setup.adapter)
            temperature = self.config.sampling_temperature
            check_served(setup.runner.rollout_lm, setup.model, prompts, temperature)

    def get_params(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, by name.

        The effort has become the settings in ``schedule`` by then.
        """
        own = dict(vars(self))
        metric, config, bounds = own.pop("metric"), own.pop("config"), own.pop("bounds")
        return {"metric": metric.function, "schedule": config, **bounds.as_arguments(), **own}

    def get_config(self) -> dict[str, Any]:
        """Return the settings of the search, JSON-able."""
        return {
            "schedule": type(self.config).__name__,
            **{name: _plain(value) for name, value in vars(self.config).items()},
            **self.bounds.as_arguments(),
            "max_examples": self.max_examples,
            "confidence": self.confidence,
            "perfect_score": self.perfect_score,
        }

    def _chosen(
        self,
        student: dspy.Module,
        found: Sequence[Predictor],
        trainset: list[dspy.Example],
        train: list[dspy.Example],
    ) -> tuple[list[Predictor], list[str], Labels]:
        """Return the predictors to optimize, the others' names, and labels by the user's function.

        Labels are asked for on the whole trainset, so that a fault shows wherever it is, and
        returned, by predictor, for the examples that the search sees.
        """
        labels: Labels = {}

        def relabel(predictor: Predictor) -> Predictor:
            if self.label_fn is None:
                return predictor
            given = given_labels(self.label_fn, predictor, trainset, current_adapter())
            by_example = dict(zip(map(id, trainset), given, strict=True))
            labels[predictor.name] = [by_example[id(example)] for example in train]
            return relabelled(predictor, labels[predictor.name])

        predictors, left_out = select(
            student,
            found,
            self.predictors,
            frozen=self.frozen,
            labelled=self.config.needs_labels,
            relabel=relabel,
        )
        check_adapter(current_adapter(), predictors, trainset)
        if self.label_fn is None:
            check_labels("trainset", trainset, predictors, current_adapter())
        return predictors, left_out, labels

    def _identity(
        self,
        student: dspy.Module,
        trainset: Sequence[dspy.Example],
        valset: Sequence[dspy.Example] | None,
    ) -> dict[str, str]:
        """Return what makes a compile this compile, hashes by name."""
        identity = {
            "config": {**self.get_config(), "seed": self.seed},
            "trainset": [example.toDict() for example in trainset],
            "valset": [example.toDict() for example in valset or ()],
            "program": student.dump_state(),
        }
        return {name: fingerprint(value) for name, value in identity.items()}

    @contextmanager
    def _checkpoint(
        self,
        student: dspy.Module,
        predictors: Sequence[Predictor],
        data: Data,
        lms: LMs,
    ) -> Iterator[Checkpoint | None]:
        """Open the ``log_dir``, if there is one, for the time of a compile."""
        if self.log_dir is None:
            yield None
            return
        train, validation, labels = data
        more = {
            "predictors": [each.name for each in predictors],
            "turns": self.round_robin,
            "labels": {name: [each.toDict() for each in given] for name, given in labels.items()},
            "model": white_box(lms.white_box).fingerprint,
        }
        if lms.target is not None:  # by name: a server may come back at another address
            more["target LM"] = {name: its.model for name, its in lms.target.lms.items()}
        if lms.rollout_lm is not None:
            more["rollout LM"] = lms.rollout_lm.model
        identity = self._identity(student, train, validation)
        identity |= {name: fingerprint(value) for name, value in more.items()}
        checkpoint = Checkpoint(self.log_dir, identity)
        try:
            yield checkpoint
        finally:
            checkpoint.close()

    def _local_lm(self, student: dspy.Module) -> dspy.LM:
        """Return the white box, refusing anything else."""
        if self.lm is not None:
            white_box(self.lm)
            return self.lm
        lms = list(program_lms(student).values())
        for lm in lms:
            try:
                white_box(lm)
            except NotWhiteBoxError as error:
                if lm is None:
                    raise
                where = "the program's own LM" if self.target_lm is None else "target_lm"
                raise NotWhiteBoxError(
                    f"{error} With lm= it proposes instructions, which are verified on {where}."
                ) from None
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


def _plain(value: Any) -> Any:
    """Return a setting as JSON takes it; an objective by its name."""
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
