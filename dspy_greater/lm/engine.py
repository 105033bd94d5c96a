"""DSPy's engine interface over a white box."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dspy import lm15

from dspy_greater.lm.batching import Batcher
from dspy_greater.lm.jobs import Job, answer
from dspy_greater.lm.source import Source
from dspy_greater.lm.translation import events_of

if TYPE_CHECKING:
    from dspy_greater.model.white_box import WhiteBox

# What lives in this process, so that unpickling and loading never load twice.
_white_boxes: weakref.WeakSet[WhiteBox] = weakref.WeakSet()
_engines: weakref.WeakSet[LocalEngine] = weakref.WeakSet()
_registry = threading.RLock()


class LocalEngine:
    """Answers DSPy's requests with a white box, many callers in one generation.

    Copies share the engine, and its pickled and saved forms describe the model
    without its weights: they find it again in this process by its fingerprint,
    or load it from its source when first used.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset(
        {"temperature", "max_tokens", "max_completion_tokens", "top_p", "top_k", "stop", "seed"}
        | {"logprobs", "top_logprobs", "stream", "response_format"}
    )

    def __init__(
        self,
        white_box: WhiteBox,
        *,
        source: Source | None = None,
        max_batch: int = 128,
        batch_wait: float = 0.02,
    ) -> None:
        """Wraps a loaded model.

        Args:
            white_box: The loaded model.
            source: Where another process can load it; None when nowhere.
            max_batch: Most requests in one generation.
            batch_wait: Seconds without a new request after which a batch goes out.
        """
        self._set_up(white_box.name, white_box.fingerprint, source, max_batch, batch_wait)
        self._white_box: WhiteBox | None = white_box
        with _registry:
            _white_boxes.add(white_box)
            _engines.add(self)

    def _set_up(
        self,
        name: str,
        fingerprint: str,
        source: Source | None,
        max_batch: int,
        batch_wait: float,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.source = source
        self._settings = {"max_batch": max_batch, "batch_wait": batch_wait}
        self._batcher = Batcher(answer, max_batch=max_batch, batch_wait=batch_wait)
        self._loading = threading.Lock()

    @property
    def model(self) -> str:
        """Names the model for DSPy, whose cache knows nothing else about an engine."""
        return f"local/{self.name}@{self.fingerprint[:12]}"

    @property
    def white_box(self) -> WhiteBox:
        """The model; loads it when this engine was unpickled and has not been used yet."""
        with self._loading:
            if self._white_box is None:
                self._white_box = self._find_or_load()
            return self._white_box

    def complete(self, request: lm15.Request) -> lm15.Response:
        """Answers one request, blocking until its batch is done."""
        future = self._batcher.submit(Job.of(self, request))
        try:
            return future.result()
        except BaseException:
            future.cancel()  # interrupted while waiting: nobody reads the answer
            raise

    def stream(self, request: lm15.Request) -> Iterator[Any]:
        """Answers one request as a stream, which starts when the answer is complete."""
        yield from events_of(self.complete(request))

    async def acomplete(self, request: lm15.Request) -> lm15.Response:
        """Answers one request without blocking the event loop."""
        return await asyncio.wrap_future(self._batcher.submit(Job.of(self, request)))

    def close(self) -> None:
        """Stops generating for good; requests that still wait fail."""
        with _registry:
            _engines.discard(self)
        self._batcher.close()

    def dump_state(self) -> dict[str, Any]:
        """Describes the model, without weights, for a saved DSPy program."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "source": None if self.source is None else asdict(self.source),
            **self._settings,
        }

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> LocalEngine:
        """The engine described: the living one if there is one, else one that loads when used."""
        with _registry:
            for living in _engines:
                if living.dump_state() == state:
                    return living
            engine = cls.__new__(cls)
            source = None if state["source"] is None else Source(**state["source"])
            engine._set_up(**{**state, "source": source})
            engine._white_box = _living(engine.fingerprint)
            if engine._white_box is None and source is None:
                raise RuntimeError(engine._lost())
            _engines.add(engine)
            return engine

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalEngine:
        return self

    def __copy__(self) -> LocalEngine:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _engine_of, (self.dump_state(),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model})"

    def _find_or_load(self) -> WhiteBox:
        with _registry:
            living = _living(self.fingerprint)
            if living is not None:
                return living
            if self.source is None:
                raise RuntimeError(self._lost())
            white_box = self.source.load()
            if white_box.fingerprint != self.fingerprint:
                raise RuntimeError(
                    f"{self.source.model} now holds other weights (fingerprint "
                    f"{white_box.fingerprint}) than when this language model was saved "
                    f"({self.fingerprint}). Make a new one with local_lm({self.source.model!r})."
                )
            _white_boxes.add(white_box)
            return white_box

    def _lost(self) -> str:
        return (
            f"{self.model} was made from a model object, not from a name or folder, so its weights "
            "cannot be loaded here. Load the same model, call local_lm(...) with it, keep the "
            "result alive, and try again; or set the program's language model anew."
        )


class AsyncLocalEngine:
    """The same engine, awaited."""

    def __init__(self, engine: LocalEngine) -> None:
        """Wraps an engine; both put their requests into the same queue."""
        self.engine = engine

    async def complete(self, request: lm15.Request) -> lm15.Response:
        """Answers one request."""
        return await self.engine.acomplete(request)

    async def stream(self, request: lm15.Request) -> AsyncIterator[Any]:
        """Answers one request as a stream, which starts when the answer is complete."""
        for event in events_of(await self.engine.acomplete(request)):
            yield event

    async def aclose(self) -> None:
        """Closes the engine."""
        self.engine.close()

    def dump_state(self) -> dict[str, Any]:
        """Describes the engine for a saved DSPy program."""
        return self.engine.dump_state()

    @classmethod
    def load_state(cls, state: Mapping[str, Any]) -> AsyncLocalEngine:
        """The counterpart of ``LocalEngine.load_state``."""
        return cls(LocalEngine.load_state(state))


def _engine_of(state: dict[str, Any]) -> LocalEngine:
    # A plain function: cloudpickle would take a class method apart.
    return LocalEngine.load_state(state)


def _living(fingerprint: str) -> WhiteBox | None:
    """A white box of some weights that is in this process already."""
    return next((box for box in _white_boxes if box.fingerprint == fingerprint), None)
