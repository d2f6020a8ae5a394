"""A function done for every item of a list, on local threads or on the workers of a Dask cluster, as they finish."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from ..errors import EngineError, lacks_memory, memory_reason
from ..model.context import JobContext
from .cluster import TRIES, connected
from .workers import GoOnHereError

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

#: Seconds between looks at the cancel flag.
_TICK_S = 0.2


def each(
    function: Callable[..., R],
    items: Sequence[T],
    *,
    threads: int,
    scheduler: str | None = None,
    what: str = "micrographs",
    context: JobContext,
) -> Generator[tuple[T, R | BaseException], None, None]:
    """Do ``function(item, context=JobContext)`` for every item, and yield them as they finish.

    Parameters
    ----------
    function : callable
        On a cluster it and what it brings must be picklable: a function of a module, or a ``partial`` of one.
    items : sequence
    threads : int
        Local threads.
    scheduler : str, optional
        Address (``tcp://host:8786``) or scheduler file of a Dask cluster whose workers have this package and see the
        same files; None = here.
    what : str
        What the items are called in the progress.
    context : JobContext
        Gets the progress. Its cancel reaches every running task.

    Yields
    ------
    (item, result or exception)
        :class:`Cancelled` of a task among the exceptions only where that task alone was stopped.

    Raises
    ------
    Cancelled
        The job was cancelled; running tasks have been cancelled.
    EngineError
        There is no such cluster, or the connection to it was lost.
    """
    left = dict(enumerate(items))
    if not left:
        return
    too_large: dict[int, T] = {}
    try:
        yield from _each(function, left, too_large, threads, scheduler, what, context)
    except GoOnHereError:
        context.log("no workers are connected: the rest is done on this computer")
        yield from _each(function, left, too_large, threads, None, what, context)
    if too_large:
        log.info("%d of %d %s did not fit into the memory: they are done one by one", len(too_large), len(items), what)
        yield from _each(function, too_large, None, 1, None, what, context)


def _each(
    function: Callable[..., R],
    left: dict[int, T],
    too_large: dict[int, T] | None,
    threads: int,
    scheduler: str | None,
    what: str,
    context: JobContext,
) -> Generator[tuple[T, R | BaseException], None, None]:
    """As :func:`each`; what is done is taken out of ``left``, so that what is not can be done elsewhere.

    What did not fit into the memory beside others goes into ``too_large`` and is not yielded, where there is one.
    """
    n = max(left) + 1
    with _place(threads, len(left), scheduler, context) as (executor, inner, while_waiting):
        done: queue.SimpleQueue[Future[R]] = queue.SimpleQueue()
        of: dict[Future[R], int] = {}
        try:
            for number, item in left.items():
                context.check()
                future = executor.submit(_task, function, item, inner)
                of[future] = number
                future.add_done_callback(done.put)
            while of:
                context.progress(n - len(of), n, f"{n - len(of)}/{n} {what}")
                try:
                    future = done.get(timeout=_TICK_S)
                except queue.Empty:
                    while_waiting()
                    continue
                number = of.pop(future)
                item = left.pop(number)
                if too_large is not None and threads > 1 and scheduler is None and _lacked_memory(future):
                    too_large[number] = item
                else:
                    yield item, _outcome(future, scheduler)
        except BaseException:
            inner.is_cancelled()  # on a cluster: raises the event
            for future in of:
                future.cancel()
            raise


def _outcome(future: Future[Any], scheduler: str | None) -> Any:
    if future.cancelled():  # not by this program: the scheduler is gone
        raise EngineError(f"the scheduler {scheduler} was lost; what is finished is kept, start again to go on")
    error = future.exception()
    if error is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":
        return EngineError(f"its worker died {TRIES} times on it (memory?)")
    if lacks_memory(error):
        return EngineError(memory_reason(error))
    return error


def _lacked_memory(future: Future[Any]) -> bool:
    error = None if future.cancelled() else future.exception()
    return lacks_memory(error) or lacks_memory(getattr(error, "__cause__", None))


def _task(function: Callable[..., R], item: Any, context: JobContext) -> R:
    context.check()  # also: in the task's own thread, where the worker is known
    return function(item, context=context)


@contextmanager
def _place(
    threads: int, n: int, scheduler: str | None, context: JobContext
) -> Iterator[tuple[Executor, JobContext, Callable[[], None]]]:
    """An executor, the context its tasks get, and what is to be called while one waits for them.

    The context reports nothing, and is cancelled when they are abandoned.
    """
    if scheduler is None:
        stop = _Stop(context)
        inner = replace(context.part(), is_cancelled=stop)
        pool = ThreadPoolExecutor(max(1, min(threads, n)), thread_name_prefix="task")
        try:
            yield pool, inner, lambda: None
        except BaseException:
            stop.stopped = True
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return
    context.progress(0, n, f"connecting to {scheduler}")
    with connected(scheduler, context.check) as cluster:
        yield cluster.executor(), cluster.shipped(context), cluster.watch(context).follow


class _Stop:
    """A local flag: cancelled from outside, or abandoned."""

    def __init__(self, context: JobContext) -> None:
        self._asked = context.is_cancelled
        self.stopped = False

    def __call__(self) -> bool:
        return self.stopped or self._asked()
