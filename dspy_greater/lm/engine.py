"""DSPy's engine interface over a white box, many requests in one generation."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any, NamedTuple

import dspy
from dspy import lm15

from dspy_greater.basics.spans import Message
from dspy_greater.cost.meter import SETTING, Meter
from dspy_greater.lm.batching import Batcher
from dspy_greater.lm.translation import (
    SUPPORTED,
    check_supported,
    events_of,
    messages_of,
    response_of,
    sampling_of,
)

if TYPE_CHECKING:
    from dspy_greater.model.requests import Sampling
    from dspy_greater.model.white_box import WhiteBox

# What lives in this process, where what was pickled finds it again.
_engines: weakref.WeakSet[LocalEngine] = weakref.WeakSet()
_registry = threading.Lock()


class LocalEngine:
    """Answer DSPy's requests with a white box; copies share it, and batches are a ``Batcher``'s.

    Pickled it is the model's name, which finds it again in this process.
    """

    supported_params = SUPPORTED | {"max_completion_tokens", "stream"}

    def __init__(
        self, white_box: WhiteBox, *, max_batch: int = 128, batch_wait: float = 0.02
    ) -> None:
        self.white_box = white_box
        self._batcher = Batcher(_answer, max_batch=max_batch, batch_wait=batch_wait)
        with _registry:
            _engines.add(self)

    @property
    def model(self) -> str:
        """The model's name for DSPy, whose cache knows nothing else about an engine."""
        return f"local/{self.white_box.name}@{self.white_box.fingerprint[:12]}"

    def submit(self, request: lm15.Request) -> Future[lm15.Response]:
        """Queue a request; raise when the local model cannot do what it asks."""
        if request.model != self.model:
            raise lm15.InvalidRequestError(
                f"{request.model} is to answer, but the weights here are those of {self.model}, "
                "since lm.copy(model=...) and fine-tuning give a local model another name and "
                "nothing else. Load the other model with local_lm(...)."
            )
        check_supported(request)
        messages, sampling = messages_of(request), sampling_of(request.config)
        meter = dspy.settings.get(SETTING)
        if meter is not None and meter.engine not in (None, self):
            meter = None  # another model, which the compile counts by what it reports
        return self._batcher.submit(_Job(self, request, messages, sampling, meter))

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request, blocking until its batch is done."""
        future = self.submit(request)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # interrupted while waiting: nobody reads the answer
            raise

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """Answer one request as a stream, which starts when the answer is complete."""
        yield from events_of(self.complete(request))

    def close(self) -> None:
        """Stop generating for good; requests that still wait fail."""
        with _registry:
            _engines.discard(self)
        self._batcher.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _engine_of, (self.model,)


class AsyncLocalEngine:
    """An engine, awaited; both put their requests into the same queue."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answer one request without blocking the event loop."""
        return await asyncio.wrap_future(self.engine.submit(request))

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """Answer one request as a stream, which starts when the answer is complete."""
        for event in events_of(await self.complete(request)):
            yield event

    async def aclose(self) -> None:
        """Close the engine."""
        self.engine.close()


class LocalLM(dspy.LM):
    """A ``dspy.LM`` whose model lives in this process."""

    def dump_state(self) -> None:
        """Return nothing: a program is saved as one without an LM, and loads everywhere."""


class _Job(NamedTuple):
    """One request; the worker knows the engine by it alone, so an unused engine is freed."""

    engine: LocalEngine
    request: lm15.Request
    messages: list[Message]
    sampling: Sampling
    meter: Meter | None


def _answer(jobs: list[_Job]) -> list[lm15.Response | Exception]:
    """Answer a batch; what one meter counts is never in a generation with what another does."""
    answers: dict[int, lm15.Response | Exception] = {}
    groups: dict[int, dict[int, tuple[int, ...]]] = {}  # by meter, the prompts of its jobs
    for index, job in enumerate(jobs):
        encoded = _encode(job)
        if isinstance(encoded, Exception):
            answers[index] = encoded
        else:
            groups.setdefault(id(job.meter), {})[index] = encoded
    for prompts in groups.values():
        done = _generate(list(prompts.values()), [jobs[index] for index in prompts])
        answers.update(zip(prompts, done, strict=True))
    return [answers[index] for index in range(len(jobs))]


def _encode(job: _Job) -> tuple[int, ...] | Exception:
    from dspy_greater.model.errors import TemplateError

    white_box = job.engine.white_box.metered(job.meter)
    try:
        ids = white_box.encode(job.messages).ids
    except TemplateError as error:
        return lm15.InvalidRequestError(str(error))
    except Exception as error:
        return error
    if len(ids) + 1 > white_box.context:
        return lm15.ContextLengthError(
            f"The prompt has {len(ids)} tokens, but the model has room for {white_box.context}, "
            "its answer included."
        )
    return ids


def _generate(
    prompts: Sequence[tuple[int, ...]], jobs: Sequence[_Job]
) -> list[lm15.Response | Exception]:
    """Generate for all prompts on one meter, halving the batch to find which fails."""
    if not jobs:
        return []
    white_box = jobs[0].engine.white_box.metered(jobs[0].meter)
    try:
        generations = white_box.generate(prompts, [job.sampling for job in jobs])
        return [
            response_of(job.request, len(prompt), generation)
            for job, prompt, generation in zip(jobs, prompts, generations, strict=True)
        ]
    except Exception as error:
        if len(jobs) == 1 or isinstance(error, CancelledError):
            return [error] * len(jobs)
        half = len(jobs) // 2
        return _generate(prompts[:half], jobs[:half]) + _generate(prompts[half:], jobs[half:])


def _engine_of(model: str) -> LocalEngine:
    """Return the living engine of a pickled one's model; raise where there is none."""
    with _registry:
        for engine in _engines:
            if engine.model == model:
                return engine
    raise RuntimeError(
        f"The model {model} is not loaded in this process, and what was pickled holds no weights. "
        "Make the language model anew, lm = local_lm(...), and load again while it lives; or "
        "pickle the program without one, program.set_lm(None), and call program.set_lm(lm) there."
    )
