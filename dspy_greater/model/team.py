"""Several processes that do one white box's work together.

A launcher starts the same script in every process, and each loads the model. For the time of a
compile the first process *leads*: it runs the program, the metric and the search as if it were
alone, and writes what there is to write. The others *follow*. Whenever the leader asks its white
box for generations, log-probabilities or gradients, the rows of that call are divided among the
processes and the results come back in their order; so there is one place where anything is
decided, and nothing that processes could disagree about.

A model that is itself spread over the processes (tensor parallel) needs all of them for every
row: then the rows are not divided, and everybody does the whole call.

What is sent are token ids, log-probabilities and gradients at instruction positions, over a group
of Gloo, whatever the devices.
"""

from __future__ import annotations

import functools
import pickle
import signal
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import torch.distributed as dist

from dspy_greater.model.counts import Counts
from dspy_greater.model.errors import WhiteBoxError
from dspy_greater.model.processes import launched

if TYPE_CHECKING:
    from dspy_greater.model.white_box import WhiteBox

P = ParamSpec("P")
Result = TypeVar("Result")
# Followers wait while the leader runs the user's metric or asks a server; that may take its time.
PATIENCE = timedelta(days=7)


class ProcessError(WhiteBoxError):
    """The processes cannot work together, or one of them is gone."""


@dataclass(frozen=True)
class Order:
    """Call a method of the white box.

    Attributes:
        method: Its name.
        args: Its positional arguments.
        settings: Its keyword arguments.
    """

    method: str
    args: Sequence[Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What came of an order: results by row, or an error; and the work it took."""

    results: Any
    error: BaseException | None
    work: Counts


@dataclass(frozen=True)
class Dismissal:
    """The end of the work: what the leader ended with, a result or an error."""

    result: Any = None
    error: BaseException | None = None


def shared(
    phase: str, *, divides: bool = True
) -> Callable[
    [Callable[Concatenate[WhiteBox, P], Result]], Callable[Concatenate[WhiteBox, P], Result]
]:
    """Let the white box's team, if it has one, do a method's rows together.

    Args:
        phase: Under which the time counts, waiting for others included.
        divides: Whether rows may be divided. Without, one process does a call by itself, unless
            the model takes all of them.

    Returns:
        A decorator. A method that ``divides`` takes, by position, sequences with an item per row,
        and returns a list with a result per row.
    """

    def decorate(
        method: Callable[Concatenate[WhiteBox, P], Result],
    ) -> Callable[Concatenate[WhiteBox, P], Result]:
        @functools.wraps(method)
        def call(self: WhiteBox, /, *args: P.args, **settings: P.kwargs) -> Result:
            team = self.team
            if team is None or not (divides or team.is_one_model):
                return method(self, *args, **settings)
            with self.phases(phase):
                return team.do(self, method, args, settings)

        return call

    return decorate


class Team:
    """The processes among which this one was started; a process alone is a team of one.

    Use it as a context manager: an error that ends the block in the leader, or in any process
    before :meth:`agree`, is raised in all of them, so that none waits for ever.

    Attributes:
        size: How many processes.
        rank: Which one this is.
        is_one_model: Whether the processes hold one model's parts, not a copy each.
    """

    def __init__(self) -> None:
        state = launched()
        self.size = 1 if state is None else state.num_processes
        self.rank = 0 if state is None else state.process_index
        self.is_one_model = False
        self._group: Any = None
        # How the others are told of an error here, as long as they wait for word from here.
        self._tell: Callable[[Any], object] | None = None
        if self.size > 1:
            self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
            self._tell = self._exchange_identities
        # Communication has a thread of its own: Ctrl-C, which interrupts the main thread, then
        # cannot stop an exchange half-way and leave the others with a different idea of it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="team")

    @property
    def follows(self) -> bool:
        """Whether another process leads."""
        return self.rank > 0

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None and self._tell is not None:
                self._tell(_portable(error))
        except ProcessError:
            pass  # the error under way says more
        finally:
            self._thread.shutdown(wait=False)
            self._leave()

    @property
    def width(self) -> int:
        """How many rows the team does in the time of one."""
        return 1 if self.is_one_model else self.size

    def agree(self, model: WhiteBox, identity: Callable[[], Mapping[str, str]]) -> None:
        """Make sure that all processes are about to do the same.

        Args:
            model: This process's white box.
            identity: Returns hashes by name of what must be equal; not called by a process alone.

        Raises:
            ProcessError: Something differs. An error that another process had before it came
                here is raised as it is.
        """
        self.is_one_model = model.spans_processes
        if self.size == 1:
            return
        mine = {"model": model.fingerprint, **identity()}
        everyone = self._exchange_identities(mine)
        self._tell = None
        for rank, other in enumerate(everyone):
            if isinstance(other, BaseException):
                raise other
            differing = [name for name in mine if other[name] != everyone[0][name]]
            if differing:
                raise ProcessError(
                    f"process {rank} of {self.size} compiles with another "
                    f"{', '.join(differing)} than process 0. All must run the same script on the "
                    "same data: seed what is drawn at random, and sort what is read from sets and "
                    "folders."
                )
        if not self.follows:
            self._tell = self._dismiss

    @contextmanager
    def leading(self, model: WhiteBox) -> Iterator[None]:
        """Share the work of a white box among all for the time of a block."""
        model.team = self if self.size > 1 else None
        try:
            yield
        finally:
            model.team = None

    def follow(self, model: WhiteBox) -> Any:
        """Do what the leader orders until it is done; return what it ended with, or raise that."""
        with _uninterrupted():
            while True:
                order = self._scatter(None)
                if isinstance(order, Dismissal):
                    if order.error is not None:
                        raise order.error
                    return order.result
                self._gather(_obey(model, order))

    def dismiss(self, result: Any) -> None:
        """Tell the followers that it is done, and with what."""
        if self._tell is not None:
            self._tell = None
            self._dismiss(None, result)

    def do(
        self,
        model: WhiteBox,
        method: Callable[..., Any],
        args: Sequence[Any],
        settings: Mapping[str, Any],
    ) -> Any:
        """Call a method of the white box in all processes, each with its share of the rows."""
        orders = [Order(method.__name__, share, settings) for share in self._shares(args)]
        replies = self._thread.submit(self._exchange, model, method, orders).result()
        for reply in replies:
            if reply.error is not None:
                raise reply.error
        if self.is_one_model:
            return replies[0].results
        return [result for reply in replies for result in reply.results]

    def _leave(self) -> None:
        """End the group, and with it its threads.

        One that let go of its last message while Python ends would abort the process
        (https://github.com/pytorch/pytorch/pull/179291).
        """
        if self._group is not None:
            dist.destroy_process_group(self._group)
            self._group = None

    def _shares(self, args: Sequence[Any]) -> list[Sequence[Any]]:
        """Cut the arguments of a call, one piece for every process."""
        if self.is_one_model:
            return [args] * self.size
        parts = divided([tokens_of(row) for row in args[0]], self.size)
        return [[arg[part.start : part.stop] for arg in args] for part in parts]

    def _exchange(
        self, model: WhiteBox, method: Callable[..., Any], orders: list[Order]
    ) -> list[Reply]:
        """Give the orders, do the first of them, and wait for what came of the others."""
        self._scatter(orders)
        replies = self._gather(_obey(model, orders[0], method))
        if not self.is_one_model:
            for reply in replies[1:]:
                model.counts += reply.work
        return replies

    def _dismiss(self, error: BaseException | None, result: Any = None) -> None:
        ends = [Dismissal(result, error)] * self.size
        self._thread.submit(self._scatter, ends).result()

    def _exchange_identities(self, mine: Any) -> list[Any]:
        everyone: list[Any] = [None] * self.size
        with _reaching_all(self.size):
            dist.all_gather_object(everyone, mine, group=self._group)
        return everyone

    def _scatter(self, each: list[Any] | None) -> Any:
        """Give every process its item of the leader's list; return this one's."""
        mine: list[Any] = [None]
        with _reaching_all(self.size):
            dist.scatter_object_list(mine, each, src=0, group=self._group)
        return mine[0]

    def _gather(self, mine: Any) -> list[Any]:
        """Give the leader every process's item; the followers get an empty list."""
        everyone: list[Any] = [] if self.follows else [None] * self.size
        with _reaching_all(self.size):
            dist.gather_object(mine, everyone or None, dst=0, group=self._group)
        return everyone


def divided(sizes: Sequence[int], parts: int) -> list[range]:
    """Cut rows into stretches of about equal size.

    Stretches, since neighbours often share their beginning, which is then read once.

    Args:
        sizes: Of each row.
        parts: How many stretches; some are empty where there are fewer rows.
    """
    total = sum(sizes)
    # A row belongs to the part in whose share its middle lies.
    middles = [end - size / 2 for end, size in zip(accumulate(sizes), sizes, strict=True)]
    cuts = [bisect_left(middles, total * part / parts) for part in range(parts)]
    return [range(start, stop) for start, stop in pairwise([*cuts, len(sizes)])]


def tokens_of(row: Any) -> int:
    """Return how many tokens a row of a call has."""
    return len(getattr(row, "ids", row))


def _obey(model: WhiteBox, order: Order, method: Callable[..., Any] | None = None) -> Reply:
    """Do an order, the leader without asking the team again; an error is a reply as well."""
    before = model.counts.snapshot()
    call = getattr(model, order.method) if method is None else functools.partial(method, model)
    results: Any = []
    error: BaseException | None = None
    try:
        results = call(*order.args, **order.settings)
    except Exception as raised:
        error = raised if method is not None else _portable(raised)
    return Reply(results, error, model.counts - before)


@contextmanager
def _reaching_all(size: int) -> Iterator[None]:
    """Say that a process is gone where an exchange fails."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessError(
            f"Another of the {size} processes has ended or cannot be reached; its own output "
            f"says why. ({error})"
        ) from error


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Leave Ctrl-C, which every process gets, to the leader."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, own)


def _portable(error: BaseException) -> BaseException:
    """Return an error that another process can read, this one if it can be."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
