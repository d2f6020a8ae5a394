"""Tasks of a job on local threads, or on the workers of a Dask cluster: the same functions, the same futures.

Everything goes through :class:`concurrent.futures.Executor`. A cancel reaches tasks that run elsewhere by an event the
scheduler keeps, which they ask for twice a second; a task whose worker dies is run again by the scheduler.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from ..errors import Cancelled, EngineError
from ..model.context import JobContext
from .workers import GoOnHereError, WorkerWatch

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)

#: Seconds between looks at the cancel flag here.
_TICK_S = 0.2
#: The same on a worker, where it is a question to the scheduler.
_REMOTE_TICK_S = 0.5
_CONNECT_S = 10.0
#: Seconds that a worker is waited for before one looks whether there are any.
_SCATTER_S = 2.0
TRIES = 4
#: What is said where Dask's ``distributed`` is not installed.
NEEDS = "a cluster needs Dask: pip install 'cryoppp-annotator[cluster]'"


@contextmanager
def connected(address: str, check: Callable[[], None]) -> Iterator[Cluster]:
    """A connection to a Dask scheduler; a cancel does not wait for one that does not answer.

    Parameters
    ----------
    address : str
        As :class:`Cluster` takes it.
    check : callable
        Raises Cancelled where the job is.

    Raises
    ------
    EngineError
        As :class:`Cluster` does.
    Cancelled
    """
    promised: Future[Cluster] = Future()

    def connect() -> None:
        try:
            promised.set_result(Cluster(address))
        except BaseException as error:  # raised where it is waited for
            promised.set_exception(error)

    threading.Thread(target=connect, name="connect", daemon=True).start()
    try:
        while not wait([promised], timeout=_TICK_S).done:
            check()
        cluster = promised.result()
    except BaseException:
        promised.add_done_callback(_close_unwanted)
        raise
    with cluster:
        yield cluster


def _close_unwanted(promised: Future[Cluster]) -> None:
    if promised.exception() is None:
        promised.result().close()


def is_installed() -> bool:
    """Whether there is what a cluster needs; loads nothing."""
    return importlib.util.find_spec("distributed") is not None


class Cluster:
    """A connection to a Dask scheduler.

    Parameters
    ----------
    address : str
        ``tcp://host:8786``, or the path of a scheduler file.

    Raises
    ------
    EngineError
        Dask's ``distributed`` is not installed, no scheduler answers, or the workers lack this package.
    """

    def __init__(self, address: str) -> None:
        try:
            distributed: Any = importlib.import_module("distributed")
        except ImportError as error:
            raise EngineError(NEEDS) from error
        for name in [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]:
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is raised
        self.address = address
        where: dict[str, Any] = {"scheduler_file": address} if Path(address).is_file() else {"address": address}
        try:
            self.client: Any = distributed.Client(
                **where, timeout=_CONNECT_S, set_as_default=False, name="cryoppp-annotator"
            )
        except (OSError, TimeoutError, ValueError) as error:
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            raise EngineError(
                f"no Dask scheduler answers at {address} ({reason}); start one with `dask scheduler`, and on each "
                "machine `dask worker ADDRESS`"
            ) from error
        self._context: JobContext | None = None
        self._token = f"cryoppp-cancel-{uuid.uuid4().hex}"
        self._event: Any = distributed.Event(self._token, client=self.client)
        try:
            self._check_versions()
        except BaseException:
            self.close()
            raise

    def _check_versions(self) -> None:
        """Checked at once, not for every micrograph. Workers may also come later; the scheduler unpacks, too."""
        from .. import __version__

        versions: dict[str, object] = {}
        for where, ask in (("the scheduler", self.client.run_on_scheduler), ("a worker", self.client.run)):
            try:
                answer = ask(_version)
            except Exception as error:  # what another Python, or one without this program, raises is anything
                raise EngineError(
                    f"{where} of {self.address} cannot run this program ({' '.join(str(error).split())[:200]}); "
                    f"install cryoppp-annotator {__version__} there"
                ) from error
            versions |= answer if isinstance(answer, dict) else {where: answer}
        for where, version in versions.items():
            if version != __version__:
                raise EngineError(f"{where} has version {version} of this program, here it is {__version__}")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_what: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; what was not finished is forgotten by it."""
        self._context = None
        self.client.close(timeout=2)

    def cores(self) -> dict[str, int]:
        """Tasks that each worker does at once, by its address."""
        return {str(where): int(n) for where, n in self.client.nthreads().items()}

    def on_each(self, function: Callable[..., R], *arguments: Any) -> dict[str, R]:
        """Call a function once on every worker, at once; what it says, by the worker's address.

        Raises
        ------
        EngineError
            A worker could not, or was lost.
        """
        try:
            return dict(self.client.run(function, *arguments))
        except Exception as error:  # whatever it raises there
            raise EngineError(f"a worker of {self.address} could not be asked ({error})") from error

    def executor(self) -> Executor:
        """The cluster as an executor."""
        executor: Executor = self.client.get_executor(pure=False, retries=0)
        return executor

    def shipped(self, context: JobContext) -> JobContext:
        """A context that can be pickled: cancelled on the workers when ``context`` is, its log is written here."""
        self._context = context
        self.client.subscribe_topic(self._token, lambda event: self._tell(str(event[1])))
        return replace(
            context,
            on_progress=_Here(self._report),
            is_cancelled=_Flag(self._is_cancelled, self._event, self._token),
            on_log=_Log(self._tell, self._token),
            on_lost=_Here(),
            goes_on_here=_never,
        )

    # threads of Dask's may live, and hold these, long after a lost scheduler: not the job, and the window with it

    def _report(self, *progress: Any) -> None:
        if self._context is not None:
            self._context.on_progress(*progress)

    def _is_cancelled(self) -> bool:
        return self._context is None or self._context.is_cancelled()

    def _tell(self, message: str) -> None:
        if self._context is not None:
            self._context.log(message)

    def holding(self, context: JobContext, unpacked: Callable[[Any], Any] = lambda item: item) -> HoldingPool:
        """An executor whose workers keep what they are handed; a cancel of ``context`` ends a wait for them."""
        return HoldingPool(self.client, context.check, unpacked, self.watch(context))

    def watch(self, context: JobContext) -> WorkerWatch:
        """Says to ``context`` where no workers are connected; to be asked while one waits."""
        return WorkerWatch(self.client, self.address, context)


def _version() -> str:
    from .. import __version__

    return __version__


def _never() -> bool:
    return False


class _Here:
    """A callable that does nothing where it is unpickled."""

    def __init__(self, function: Callable[..., None] | None = None) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> None:
        if self._function is not None:
            self._function(*arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Here, ()


class _Log:
    """A line for the job's log. Here: written to it."""

    def __init__(self, write: Callable[[str], None], token: str) -> None:
        self._write, self._token = write, token

    def __call__(self, message: str) -> None:
        self._write(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteLog, (self._token,)


class _RemoteLog:
    """A line for the job's log. On a worker: sent to the process that started the job."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, message: str) -> None:
        distributed: Any = importlib.import_module("distributed")
        try:
            distributed.get_worker().log_event(self._token, message)
        except ValueError:  # a thread of the task's own
            log.info("%s", message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteLog, (self._token,)


class _Flag:
    """Cancelled? Here: asks the job, and passes a yes on to the cluster."""

    def __init__(self, asked: Callable[[], bool], event: Any, token: str) -> None:
        self._asked, self._event, self._token = asked, event, token
        self._passed = False

    def __call__(self) -> bool:
        if not self._asked():
            return False
        if not self._passed:
            self._passed = True
            try:
                self._event.set()
            except Exception:  # the scheduler is gone, and its tasks with it
                log.debug("the cancel could not be passed on", exc_info=True)
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteFlag, (self._token,)


class _RemoteFlag:
    """Cancelled? On a worker: asks the scheduler, twice a second at most."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._event: Any = None
        self._asked = -_REMOTE_TICK_S
        self._set = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if self._set or now - self._asked < _REMOTE_TICK_S:
            return self._set
        self._asked = now
        try:
            if self._event is None:
                distributed: Any = importlib.import_module("distributed")
                self._event = distributed.Event(self._token, client=distributed.get_client())
            self._set = bool(self._event.is_set())
        except Exception:  # a thread of the task's own before the task asked, or the scheduler is being lost
            log.debug("the scheduler could not be asked", exc_info=True)
        return self._set

    def __reduce__(self) -> tuple[Any, ...]:
        return _RemoteFlag, (self._token,)


class HoldingPool(Executor):
    """An executor for work that goes over the same items again and again: each lies on a worker from the first time.

    What a worker held when it died is sent to another one.

    Parameters
    ----------
    client : distributed.Client
    check : callable
        Raises Cancelled where the job is; asked while a call waits.
    unpacked : callable
        Makes of an item what the workers get, the first time it is sent.
    watch : WorkerWatch
        Where it says so, the work goes on on threads of this computer.
    """

    def __init__(
        self, client: Any, check: Callable[[], None], unpacked: Callable[[Any], Any], watch: WorkerWatch
    ) -> None:
        self._client = client
        self._address = client.scheduler.address
        self._check = check
        self._unpacked = unpacked
        self._watch = watch
        self._here = False  # without the cluster, from now on
        self._held: dict[int, tuple[Any, Any]] = {}

    def submit(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """One call, nothing held."""
        future: Future[R] = self._client.get_executor(pure=False).submit(function, *args, **kwargs)
        return future

    def map(
        self, function: Callable[..., R], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[R]:
        """``function(item)`` of each item, in their order, each where the item lies. All are over when it returns.

        Raises
        ------
        Cancelled
        EngineError
            The same work was lost again and again, or the scheduler was.
        """
        (items,) = (list(iterable) for iterable in iterables)
        if self._here:
            return self._map_here(function, items)
        self._held = {id(item): self._held[id(item)] for item in items if id(item) in self._held}
        out: list[Any] = [None] * len(items)
        missing = list(range(len(items)))
        for _ in range(TRIES):
            self._refuse_lost(None)
            try:
                missing = self._ask(function, items, missing, out)
            except GoOnHereError:
                self._here = True
                return self._map_here(function, items)
            except OSError as error:  # what could not be sent
                self._refuse_lost(error)
                raise
            if not missing:
                return iter(out)
        raise EngineError(f"workers died {TRIES} times on the same work (memory?)")

    def _map_here(self, function: Callable[..., R], items: Sequence[Any]) -> Iterator[R]:
        def one(item: Any) -> R:
            self._check()
            return _with_one_thread(function, self._unpacked(item))

        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="here") as pool:
            return iter(list(pool.map(one, items)))

    def _refuse_lost(self, error: OSError | None) -> None:
        """Raises EngineError where not a worker but the scheduler has gone, and does not come back for a while."""
        while self._client.status == "connecting":
            self._check()
            time.sleep(_TICK_S)
        if self._client.status != "running":
            raise EngineError(f"the scheduler {self._address} was lost; nothing was changed, start again") from error

    def _ask(self, function: Callable[..., R], items: Sequence[Any], rows: Sequence[int], out: list[Any]) -> list[int]:
        """Fill ``out`` where wanted; the places whose worker was lost."""
        done: queue.SimpleQueue[int] = queue.SimpleQueue()
        asked: dict[int, Any] = {}
        for i in rows:
            asked[i] = self._client.submit(_with_one_thread, function, self._holder(items[i]), pure=False)
            asked[i].add_done_callback(lambda _future, place=i: done.put(place))
        lost: list[int] = []
        try:
            for _ in rows:
                i = self._next(done)
                try:
                    out[i] = asked[i].result()
                except Exception as error:
                    if not _is_loss(error):
                        raise
                    log.info("a worker was lost; what it held is sent to another", exc_info=True)
                    self._held.pop(id(items[i]), None)
                    lost.append(i)
        except BaseException:
            self._client.cancel(list(asked.values()))
            raise
        return lost

    def _next(self, done: queue.SimpleQueue[int]) -> int:
        while True:
            self._check()
            try:
                return done.get(timeout=_TICK_S)
            except queue.Empty:
                self._watch.follow()

    def _holder(self, item: Any) -> Any:
        known = self._held.get(id(item))
        if known is None or known[1].status in ("cancelled", "lost", "error"):
            # the item is kept: its id stands for it
            known = self._held[id(item)] = (item, self._scattered(self._unpacked(item)))
        return known[1]

    def _scattered(self, item: Any) -> Any:
        while True:
            self._check()
            try:
                return self._client.scatter(item, hash=False, timeout=_SCATTER_S)
            except TimeoutError:  # nobody to send it to
                if self._client.status != "running":
                    raise
                self._watch.follow()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Forget what is held."""
        self._held.clear()


def _is_loss(error: BaseException) -> bool:
    """Whether a worker was lost, not the work wrong."""
    lost = ("KilledWorker", "FutureCancelledError", "FuturesCancelledError", "CommClosedError", "CancelledError")
    return not isinstance(error, Cancelled) and (isinstance(error, CancelledError) or type(error).__name__ in lost)


def _with_one_thread(function: Callable[..., R], item: Any) -> R:
    """A worker's cores are its tasks': the linear algebra library's own threads would fight for them."""
    with threadpool_limits(limits=1, user_api="blas"):
        return function(item)
