"""Run a program on examples, keep what every predictor was asked and answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import dspy
from dspy.clients.base_lm import BaseLM
from dspy.utils.exceptions import AdapterParseError
from dspy.utils.parallelizer import ParallelExecutor

from dspy_greater.basics.console import shorten
from dspy_greater.cost import Meter, Usage
from dspy_greater.cost.meter import SETTING
from dspy_greater.program.errors import (
    REMEDY,
    MetricError,
    ScaleError,
    TooManyErrorsError,
    is_outage,
    is_refusal,
    shown,
)
from dspy_greater.program.hearing import RunUsageTracker, Thoughts
from dspy_greater.program.metrics import Metric
from dspy_greater.program.predictors import copy_program

MAX_THREADS = 128
#: What helps where many answers cannot be read.
READABLE = (
    ". The first step tries instructions that show the form of an answer. If none helps: raise the "
    "LM's max_tokens where answers are cut off, try dspy.JSONAdapter() or dspy.XMLAdapter(), give "
    "the program demos, or take a stronger model."
)
_UNANSWERED = "runs got no answer from a language model"


class PredictorCall(NamedTuple):
    """One call of a predictor in a run: what it was asked, answered and, if heard, thought."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    thinking: str = ""


@dataclass(frozen=True)
class Run:
    """One run of the program on one example, with each predictor's calls by its name.

    A predictor that was called and gave no readable answer has an empty list. ``raised`` is what
    the program or the metric raised, ``usage`` by name what each LM did for it, not for the metric.
    """

    score: float
    prediction: dspy.Prediction | None
    calls: dict[str, list[PredictorCall]] = field(default_factory=dict)
    raised: Exception | None = None
    usage: dict[str, Usage] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """What was raised, as text."""
        return None if self.raised is None else _text(self.raised)

    @property
    def parse_failed(self) -> bool:
        """Whether the run ended with an answer that could not be read."""
        return self.prediction is None and isinstance(self.raised, AdapterParseError)

    @property
    def longest(self) -> int:
        """Bytes of the longest answer that could be read, with what was thought before it."""
        calls = [call for calls in self.calls.values() for call in calls]
        texts = ("".join([call.thinking, *map(str, call.outputs.values())]) for call in calls)
        return max((len(text.encode(errors="replace")) for text in texts), default=0)


def unreadable(runs: Sequence[Run]) -> str:
    """Say how many answers could be read, with one that could not and what helps; else nothing."""
    unread = [str(run.error) for run in runs if run.parse_failed]
    if not unread:
        return ""
    told = f"{len(runs) - len(unread)} of {len(runs)} answers could be read, for instance not"
    return f"{told}: {shorten(unread[0], 300)}" + (READABLE if 2 * len(unread) >= len(runs) else "")


def run_programs(
    programs: Sequence[dspy.Module],
    examples: Sequence[Sequence[dspy.Example]],
    metric: Metric | Callable[..., Any],
    *,
    lms: Sequence[BaseLM] | None = None,
    num_threads: int | None = None,
    max_errors: int | None = None,
    thinking: bool = False,
    meter: Meter | None = None,
) -> list[list[Run]]:
    """Run and score programs, each on examples of its own, side by side in threads.

    A run that fails scores 0. But no instruction is judged by an outage: it is an error where a
    language model gives no answer at all (no connection, a wrong key) to ``max_errors`` runs, or to
    none of several.

    Args:
        programs: Left as they are.
        examples: By program, what to run it on.
        metric: Called outside of the LM's context: a judge in it keeps the user's LM.
        lms: One for each program, used by all its predictors; None leaves them theirs.
        num_threads: None for 128: a local model answers many threads' calls in one batch.
        max_errors: None for DSPy's setting.
        thinking: Whether to listen to what language models think before they answer.
        meter: Where local models book what they do for these runs, and the metric its time.
    """
    metric = metric if isinstance(metric, Metric) else Metric(metric)
    limit = dspy.settings.max_errors if max_errors is None else max_errors
    stop, outages = threading.Event(), list[Exception]()
    workers = [
        _Worker(program, metric, lm, limit, stop, outages, thinking, meter or Meter())
        for program, lm in zip(programs, lms or [None] * len(programs), strict=True)
    ]
    jobs = [(worker, each) for worker, own in zip(workers, examples, strict=True) for each in own]
    if not jobs:
        return [[] for _ in programs]
    # With timeout 0 the executor does not submit slow examples a second time.
    executor = ParallelExecutor(
        num_threads=min(num_threads or MAX_THREADS, len(jobs)),
        max_errors=len(jobs) + 1,
        disable_progress_bar=True,
        timeout=0,
    )
    try:
        with dspy.context(**{SETTING: meter}):
            runs = executor.execute(lambda job: job[0](job[1]), jobs)
    except BaseException:
        stop.set()  # Neither examples still queued are to run on behind the caller,
        if meter is not None:
            meter.stopped.set()  # nor the model on their behalf.
        raise
    if outages and (len(outages) >= limit or len(outages) == len(jobs) > 1):
        raise TooManyErrorsError(
            f"{len(outages)} of {len(jobs)} {_UNANSWERED} (max_errors is {limit}). {REMEDY} "
            "With a log_dir, the same compile then goes on where it was. The first failure was "
            f"{_text(outages[0])}"
        ) from outages[0]
    made = iter(runs)
    return [list(islice(made, len(own))) for own in examples]


def check_own(runs: Sequence[Run], examples: Sequence[dspy.Example], max_errors: int) -> None:
    """Raise what the user has to mend, if the runs are of the user's own program.

    Raises:
        ScaleError: If the metric returned a score above 1 or below 0.
        MetricError: If it returned no score in so many runs.
        TooManyErrorsError: If ``max_errors`` runs failed, or all; unreadable answers are none.
    """
    failed = [at for at, run in enumerate(runs) if run.raised and not run.parse_failed]
    errors = [error for at in failed if (error := runs[at].raised)]
    scale = [error for error in errors if isinstance(error, ScaleError)]
    if scale or (errors and len(errors) >= min(max_errors, len(runs))):
        if isinstance(first := [*scale, *errors][0], MetricError):
            raise first
        what, remedy = "examples failed", "Mend the program or the metric."
        if all(map(is_refusal, errors)):
            what, remedy = _UNANSWERED, REMEDY
        raise TooManyErrorsError(
            f"{len(errors)} of {len(runs)} {what} (max_errors is {max_errors}). {remedy} The first "
            f"failure, on {shown(examples[failed[0]])}, was {_text(first)}"
        ) from first


@dataclass
class _Worker:
    """Runs one program on one example at a time, shared by the threads."""

    program: dspy.Module
    metric: Metric
    lm: BaseLM | None
    max_errors: int
    stop: threading.Event
    outages: list[Exception]  # Of all workers.
    thinking: bool
    meter: Meter

    def __post_init__(self) -> None:
        if self.lm is not None:
            self.program = copy_program(self.program)
            self.program.set_lm(self.lm)
        predictors = self.program.named_predictors()
        self.names = {id(predictor): name for name, predictor in predictors}
        # BestOfN and Refine run copies of their module; a copy keeps the stage.
        stages = Counter(predictor.stage for _, predictor in predictors)
        self.names_by_stage = {each.stage: n for n, each in predictors if stages[each.stage] == 1}

    def __call__(self, example: dspy.Example) -> Run | None:
        if self.stop.is_set():
            return None
        try:
            return self._run(example)
        except BaseException:  # Ctrl-C: the executor hands it on to the caller.
            self.stop.set()
            raise

    def _run(self, example: dspy.Example) -> Run:
        trace: list[Any] = []
        usage, outer = RunUsageTracker(), dspy.settings.usage_tracker
        thoughts = Thoughts()
        settings: dict[str, Any] = {} if self.lm is None else {"lm": self.lm}
        settings["callbacks"] = [*dspy.settings.callbacks, thoughts]
        with dspy.context(trace=trace, usage_tracker=usage, **settings):
            outcome = self._prediction(example)
        if outer is not None:  # the user's, whose place this run's took
            for name, entries in usage.usage_data.items():
                for entry in entries:
                    outer.add_usage(name, entry)
        if isinstance(outcome, dspy.Prediction) and dspy.settings.track_usage:
            # Who asked DSPy to track usage finds it there; the tracker above took its place.
            outcome.set_lm_usage(usage.get_total_tokens())
        run = outcome if isinstance(outcome, Run) else self._scored(example, outcome)
        return replace(run, calls=self._calls(trace, thoughts), usage=usage.totals())

    def _prediction(self, example: dspy.Example) -> dspy.Prediction | Run:
        """Return what the program returns, or the run that failed."""
        try:
            return self.program(**example.inputs())
        except AdapterParseError as error:
            # ChatAdapter has by then asked once more, through JSONAdapter (unless
            # use_json_adapter_fallback=False): only the last failure arrives here.
            return Run(0.0, None, raised=error)
        except Exception as error:
            return self._failed(error)

    def _scored(self, example: dspy.Example, prediction: dspy.Prediction) -> Run:
        try:
            with self.meter.phase("metric"):
                return Run(self.metric.score(example, prediction), prediction)
        except Exception as error:
            return self._failed(error, prediction)

    def _failed(self, error: Exception, prediction: dspy.Prediction | None = None) -> Run:
        """Return a run that failed, and stop the others if it is one outage too many."""
        if is_outage(error):
            self.outages.append(error)
            if len(self.outages) >= self.max_errors:
                self.stop.set()
        return Run(0.0, prediction, raised=error)

    def _calls(
        self, trace: Sequence[tuple[Any, dict[str, Any], dspy.Prediction]], thoughts: Thoughts
    ) -> dict[str, list[PredictorCall]]:
        """Return the calls of a trace by the name of their predictor."""
        found = {
            name: list[PredictorCall]() for each in thoughts.called if (name := self._name(each))
        }
        for predictor, inputs, prediction in trace:
            if name := self._name(predictor):
                fields = predictor.signature.output_fields
                outputs = {key: prediction[key] for key in fields if key in prediction}
                thought = thoughts.of(prediction) if self.thinking else ""
                found.setdefault(name, []).append(PredictorCall(dict(inputs), outputs, thought))
        return found

    def _name(self, module: Any) -> str | None:
        stage = getattr(module, "stage", None)
        return self.names.get(id(module)) or self.names_by_stage.get(stage)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
