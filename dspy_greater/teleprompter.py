"""The optimizer as DSPy knows it: settings, checks, and ``compile`` from top to bottom."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Any, Literal

import dspy
from dspy.clients.base_lm import BaseLM
from dspy.teleprompt import Teleprompter

from dspy_greater.basics.arguments import check_count, check_function, check_level, check_score
from dspy_greater.basics.overheard import overheard
from dspy_greater.basics.scripts import check_scripts
from dspy_greater.conclusion import conclude, finished
from dspy_greater.cost import Bounds
from dspy_greater.cost.meter import SETTING
from dspy_greater.lm import white_box
from dspy_greater.loop import Loop
from dspy_greater.program import Metric, Predictor, current_adapter
from dspy_greater.program.adapters import check_adapter, check_media
from dspy_greater.program.data import (
    Data,
    Labels,
    check_dataset,
    scripts_in,
    split,
    warn_of_overlap,
)
from dspy_greater.program.labels import LabelFn, check_labels, given_labels, relabelled
from dspy_greater.program.predictors import predictors_of
from dspy_greater.program.selection import Selector, select
from dspy_greater.record import Checkpoint, StepEvent, fingerprint
from dspy_greater.record.identity import modules_of
from dspy_greater.report import DetailedResults
from dspy_greater.running.fitting import fitting
from dspy_greater.running.lms import LMs, asked, language_models
from dspy_greater.running.runner import ProgramRunner
from dspy_greater.search import Program, ScheduleConfig, settings
from dspy_greater.search.programs import DEMOS
from dspy_greater.setup import Setup
from dspy_greater.state import FORM, CompileState
from dspy_greater.version import __version__


class GreaterTeleprompter(Teleprompter):
    """Improve a program's instructions with a local model, the white box.

    A library of plain instructions and the white box itself propose others for each predictor,
    which race on training examples. What comes back is the best program that beats yours on the
    validation examples with the confidence asked for, or your program as it was.

    After GReaTer (ICLR 2025, arXiv 2412.09722), whose own search is an example of the project.

    Args:
        metric: ``metric(example, prediction)``, also with DSPy's ``trace`` or GEPA's five
            arguments; returns a bool, a number from 0 to 1 or ``dspy.Prediction(score=...)``.
        lm: The white box, a ``local_lm(...)``. None: the program's own LM, which must be one.
        target_lm: The LM that the program will run on, any ``dspy.LM``. Candidates are verified
            on it. None: the program's own LM, which is the white box where ``lm`` is not given.
            The returned program keeps its own LMs in any case.
        schedule: ``"verified"``, or for other sizes than those of ``auto`` a
            ``VerifiedConfig``, or the settings of a schedule of your own
            (``dspy_greater.search.ScheduleConfig``).
        auto: The effort, ``"light"``, ``"medium"`` or ``"heavy"``; light if nothing else is given.
        max_steps: Instead of ``auto``: steps for each predictor.
        max_metric_calls: Instead of ``auto``: scored runs of the program.
        max_tokens: Instead of ``auto``: tokens read and written by the white box; those of a
            target are on record, and bounded by ``max_metric_calls``.
        max_seconds: Instead of ``auto``: wall-clock seconds. As many instructions race as the
            bounds pay for, the verdict included; one pass over the examples is the least.
        log_dir: Folder for the state after every step, a log of events and
            ``best_program.json``. A compile with the same arguments goes on from there.
        callback: Called with a ``StepEvent`` after every step; returns True to stop. What was
            found by then counts, as it does after Ctrl-C.
        predictors: Names of the predictors to optimize, or a function that chooses among all
            names; None for all. Each is searched to its end, in the program's order; they share
            the bounds evenly. What DSPy appends to an agent's instruction (its tools) is kept.
        frozen: Names of predictors that keep their instructions.
        demos: ``"keep"`` yours, or ``"search"`` for better ones first: one or two training examples
            that your program got right, or others with their labels. They race like instructions,
            which then race with the winner's demos in the prompt.
        scripts: In which instructions may be written beside Latin, by Unicode names such as
            ``"cyrillic"`` or ``"cjk"``. None: those of the program and its examples.
        label_fn: ``label_fn(example, predictor_name)`` returns a predictor's right outputs by
            field, or None. Without labels a predictor learns from its outputs in rewarded runs.
        max_examples: Training examples that the search uses, drawn at random.
        confidence: With which a program must beat yours on the validation examples, corrected for
            the number of programs tried there. 0.5: what comes back is likelier better than worse,
            which gains most in the mean; where nothing is better, half of the compiles change
            nothing. 0.8 for a program that only a *likely* gain replaces, 0.95 for *vouched for*.
        perfect_score: Mean score at which the search stops; None to never stop early.
        num_threads: Threads of one evaluation. None: as many as a local model batches,
            ``dspy.settings.num_threads`` on a target elsewhere. 64 suit a server of your own.
        max_errors: Examples failing under your program after which the compile is given up, as it
            is where all fail; None for DSPy's. Under another program they count as wrong.
        seed: Seed of every random choice.
        progress: Whether to show progress, and at the end the summary, which is logged otherwise.

    Raises:
        MetricError: If the metric takes a number of arguments that DSPy never passes.
        NotWhiteBoxError: If ``lm`` is no ``local_lm(...)``.
        TypeError: If ``target_lm`` is no DSPy LM.
        ValueError: If a setting is out of range, or effort and bounds are both given.
    """

    def __init__(
        self,
        metric: Callable[..., Any],
        *,
        lm: dspy.LM | None = None,
        target_lm: BaseLM | None = None,
        schedule: Literal["verified"] | ScheduleConfig = "verified",
        auto: Literal["light", "medium", "heavy"] | None = None,
        max_steps: int | None = None,
        max_metric_calls: int | None = None,
        max_tokens: int | None = None,
        max_seconds: float | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        callback: Callable[[StepEvent], bool | None] | None = None,
        predictors: Selector = None,
        frozen: Sequence[str] = (),
        demos: Literal["keep", "search"] = "keep",
        scripts: Sequence[str] | None = None,
        label_fn: LabelFn | None = None,
        max_examples: int = 50,
        confidence: float = 0.5,
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
        check_level("confidence", confidence)
        check_score("perfect_score", perfect_score)
        check_scripts(scripts)
        if demos not in ("keep", "search"):
            raise ValueError(f"demos must be 'keep' or 'search', not {demos!r}")
        check_function("callback", callback, "that takes a StepEvent")
        labels = "label_fn(example, predictor_name) that returns labels by output field"
        check_function("label_fn", label_fn, labels)
        if target_lm is not None and not isinstance(target_lm, BaseLM):
            of_text = isinstance(target_lm, str)
            what = repr(target_lm) if of_text else f"a {type(target_lm).__name__}"
            raise TypeError(
                f"target_lm must be a dspy.LM, not {what}: write dspy.LM('openai/...') or "
                "local_lm(...)."
            )
        if lm is not None:
            white_box(lm)
        self.metric = Metric(metric)
        self.lm = lm
        self.target_lm = target_lm
        self.bounds = Bounds(max_metric_calls, max_tokens, max_seconds)
        self.config = settings(schedule, auto, max_steps, bounded=bool(self.bounds))
        self.log_dir = log_dir
        self.callback = callback
        self.predictors = predictors
        self.frozen = frozen
        self.demos = demos
        self.scripts = scripts
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
            student: The program; never changed. ``config`` and LMs are kept, and demos unless they
                are searched.
            trainset: Labelled examples, marked ``.with_inputs(...)``.
            teacher: Not used; accepted so that the optimizer composes with others.
            valset: Examples to verify programs on. None: two fifths of the trainset, drawn by seed.

        Returns:
            The program, with the record of the run in ``detailed_results`` and every tried
            instruction, best first, in ``candidate_programs``.

        Raises:
            CheckpointError: If the ``log_dir`` cannot be used or holds another run.
            DataError: If a dataset is empty, unlabelled, or too small to be split, or
                ``label_fn`` fails or returns something that is no label.
            MetricError: If the metric scores your program above 1 or below 0, or none of its runs.
            NotWhiteBoxError: If the LM that is to propose is no ``local_lm``.
            ContextError: If an instruction, or the prompts of more than half of the training or the
                validation examples, leave no room for an answer.
            TargetError: If it is not clear on which LM a predictor is to be verified.
            InstructionError: If an instruction at the start cannot be replaced.
            ProgramError: If the student has nothing that can be optimized.
            RenderingError: If the adapter or a field keeps a prompt from being text.
            TooManyErrorsError: If too many runs fail, or an LM gives no answer.
        """
        del teacher
        check_dataset("trainset", trainset, student)
        if valset is not None:
            check_dataset("valset", valset, student)
            warn_of_overlap(trainset, valset)
        lms = language_models(student, self.lm, self.target_lm)
        found = predictors_of(student, trainset)
        check_media(found)
        train, validation = split(trainset, valset, self.max_examples, self.seed)
        chosen = self._chosen(student, found, trainset, train, validation)
        predictors, left_out, labels = chosen
        if valset is None:
            warn_of_overlap(train, validation)
        fit, fit_too = fitting(predictors, train, validation, lms)
        labels = {name: [given[index] for index in fit] for name, given in labels.items()}
        data = Data([train[i] for i in fit], [validation[i] for i in fit_too], labels)
        with self._checkpoint(student, predictors, data, lms) as checkpoint:
            loop = self._loop(student, predictors, data, lms, checkpoint)
            record, meter = loop.state.record, loop.state.meter
            record.log_dir = os.fspath(self.log_dir or "")
            with overheard(record.hear, lambda: dspy.settings.get(SETTING) is meter):
                record.left_out = left_out
                lost = {"training": len(train) - len(fit)}
                record.too_long = {**lost, "validation": len(validation) - len(fit_too)}
                if not record.outcomes:  # it was not over when it was saved
                    loop.run()
                    conclude(loop)
            return finished(loop)

    def get_params(self) -> dict[str, Any]:
        """Return the arguments that make another optimizer like this one, by name.

        The effort has become the settings in ``schedule`` by then.
        """
        own = dict(vars(self))
        metric, config, bounds = own.pop("metric"), own.pop("config"), own.pop("bounds")
        return {"metric": metric.function, "schedule": config, **vars(bounds), **own}

    def get_config(self) -> dict[str, Any]:
        """Return the settings of the search, JSON-able."""
        plain, sizes = bool | int | float | str | None, vars(self.config).items()
        return {
            "schedule": type(self.config).__name__,
            **{n: value if isinstance(value, plain) else repr(value) for n, value in sizes},
            **vars(self.bounds),
            "max_examples": self.max_examples,
            "confidence": self.confidence,
            "perfect_score": self.perfect_score,
            "demos": self.demos,
            "scripts": self.scripts if self.scripts is None else sorted(self.scripts),
        }

    def _chosen(
        self,
        student: dspy.Module,
        found: Sequence[Predictor],
        trainset: list[dspy.Example],
        train: list[dspy.Example],
        validation: list[dspy.Example],
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
        check_adapter(current_adapter(), predictors, [*train, *validation])
        if self.label_fn is None:
            check_labels("trainset", trainset, predictors, current_adapter())
        return predictors, left_out, labels

    def _checkpoint(
        self, student: dspy.Module, predictors: Sequence[Predictor], data: Data, lms: LMs
    ) -> AbstractContextManager[Checkpoint | None]:
        """Return the ``log_dir``, if there is one, to be closed after the compile.

        A compile is another one, and does not go on from there, where any of these differs.
        """
        if self.log_dir is None:
            return nullcontext()
        target = lms.target.lms if lms.target else {}
        identity = {
            "config": {**self.get_config(), "seed": self.seed},
            "trainset": [(e.inputs(), e.labels()) for e in data.train],
            "valset": [(e.inputs(), e.labels()) for e in data.validation],
            "program": modules_of(student),
            "metric": self.metric.function,
            "adapter": current_adapter(),
            "predictors": [each.name for each in predictors],
            "labels": data.labels,
            "model": white_box(lms.white_box).fingerprint,
            "settings of the LM": asked(lms.white_box),
            "target LM": {name: (its.model, asked(its)) for name, its in target.items()},
            "version of dspy_greater": (__version__, FORM),
        }
        hashes = {name: fingerprint(value) for name, value in identity.items()}
        return closing(Checkpoint(self.log_dir, hashes))

    def _loop(
        self,
        student: dspy.Module,
        predictors: Sequence[Predictor],
        data: Data,
        lms: LMs,
        checkpoint: Checkpoint | None,
    ) -> Loop:
        """Return the loop at its beginning, or where the ``log_dir`` left it."""
        model = white_box(lms.white_box)
        instructions = {each.name: each.instruction for each in predictors}
        searched = {DEMOS: ""} if self.demos == "search" else {}
        start = Program.of({**instructions, **searched})
        if checkpoint is not None and checkpoint.state is not None:
            state = CompileState.load(checkpoint.state, self.config)
        else:
            record = DetailedResults(
                train_examples=len(data.train),
                validation_examples=len(data.validation),
                seed=self.seed,
                config=self.get_config(),
                model=f"{model.name}@{model.fingerprint}",
                target=str(lms.target or ""),
            )
            state = CompileState(start, start, record=record)
        runner = ProgramRunner(
            student=student,
            start=start,
            predictors=predictors,
            train=data.train,
            validation=data.validation,
            metric=self.metric,
            meter=state.meter,
            lm=lms.white_box,
            target=lms.target,
            num_threads=self.num_threads,
            max_errors=self.max_errors,
        )
        its = scripts_in(student, data, self.config) if self.scripts is None else self.scripts
        setup = Setup(
            labels=data.labels,
            runner=runner,
            model=model.metered(state.meter),
            adapter=current_adapter(),
            config=self.config,
            bounds=self.bounds,
            seed=self.seed,
            confidence=self.confidence,
            perfect_score=self.perfect_score,
            scripts=frozenset(its),
            callback=self.callback,
            checkpoint=checkpoint,
            progress=self.progress,
        )
        return Loop(setup, state)
