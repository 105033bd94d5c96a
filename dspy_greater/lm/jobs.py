"""What the worker does with a batch: encode, generate, and keep failures apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import dspy
from dspy import lm15

from dspy_greater.basics.spans import Message
from dspy_greater.cost.meter import SETTING, Meter
from dspy_greater.lm.translation import check_supported, messages_of, response_of, sampling_of

if TYPE_CHECKING:
    from dspy_greater.lm.engine import LocalEngine
    from dspy_greater.model.requests import Sampling
    from dspy_greater.model.white_box import WhiteBox


class Job(NamedTuple):
    """One request on its way to the worker, which knows the engine only through it.

    So an engine nobody uses any more is freed, with its weights, at once.
    """

    engine: LocalEngine
    request: lm15.Request
    messages: list[Message]
    sampling: Sampling
    meter: Meter | None

    @classmethod
    def of(cls, engine: LocalEngine, request: lm15.Request) -> Job:
        """Translates a request; raises when the local model cannot do what it asks."""
        if request.model != engine.model:
            raise lm15.InvalidRequestError(
                f"{request.model} is to answer, but the weights here are those of {engine.model}, "
                "since lm.copy(model=...) and fine-tuning give a local model another name and "
                "nothing else. Load the other model with local_lm(...)."
            )
        check_supported(request)
        meter = dspy.settings.get(SETTING)
        if meter is not None and meter.engine not in (None, engine):
            meter = None  # another model, which the compile counts by what it reports
        return cls(engine, request, messages_of(request), sampling_of(request.config), meter)


def answer(jobs: list[Job]) -> list[lm15.Response | Exception]:
    """Run in the worker: what is spent on one meter's behalf is never in a batch with another's."""
    answers: dict[int, lm15.Response | Exception] = {}
    meters = dict.fromkeys(id(job.meter) for job in jobs)
    for meter in meters:
        rows = [row for row, job in enumerate(jobs) if id(job.meter) == meter]
        answers.update(zip(rows, _answered([jobs[row] for row in rows]), strict=True))
    return [answers[row] for row in range(len(jobs))]


def _answered(jobs: list[Job]) -> list[lm15.Response | Exception]:
    """Encode each job by itself, then generate for all at once, on one meter."""
    white_box = jobs[0].engine.white_box.metered(jobs[0].meter)
    answers: dict[int, lm15.Response | Exception] = {}
    prompts: dict[int, tuple[int, ...]] = {}
    for row, job in enumerate(jobs):
        try:
            prompts[row] = _encode(white_box, job.messages)
        except Exception as error:
            answers[row] = error
    answers.update(_generate(white_box, prompts, jobs))
    return [answers[row] for row in range(len(jobs))]


def _encode(white_box: WhiteBox, messages: list[Message]) -> tuple[int, ...]:
    from dspy_greater.model.errors import TemplateError

    try:
        ids = white_box.encode(messages).ids
    except TemplateError as error:
        raise lm15.InvalidRequestError(str(error)) from error
    if len(ids) + 1 > white_box.context:
        raise lm15.ContextLengthError(
            f"The prompt has {len(ids)} tokens, but the model has room for {white_box.context}, "
            "its answer included."
        )
    return ids


def _generate(
    white_box: WhiteBox, prompts: Mapping[int, tuple[int, ...]], jobs: list[Job]
) -> dict[int, lm15.Response | Exception]:
    """Generates for ``prompts`` (by row of ``jobs``), halving the batch to find who fails."""
    rows = list(prompts)
    if not rows:
        return {}
    try:
        generations = white_box.generate(
            [prompts[row] for row in rows], [jobs[row].sampling for row in rows]
        )
        return {
            row: response_of(
                jobs[row].request, len(prompts[row]), generation, white_box.encoder.decode
            )
            for row, generation in zip(rows, generations, strict=True)
        }
    except Exception as error:
        if len(rows) == 1:
            return {rows[0]: error}
        half = len(rows) // 2
        first = {row: prompts[row] for row in rows[:half]}
        second = {row: prompts[row] for row in rows[half:]}
        return _generate(white_box, first, jobs) | _generate(white_box, second, jobs)
