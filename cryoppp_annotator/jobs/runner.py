"""Runs long functions on an executor, tells how far they are, and hands their results to the main thread.

The executor is any :class:`concurrent.futures.Executor`; a local thread pool by default (the engines spend their
time in numpy and scipy, which release the interpreter lock).
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ..errors import AnnotatorError, Cancelled, EngineError, lacks_memory, memory_reason
from ..model.context import JobContext

log = logging.getLogger(__name__)


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(eq=False)
class Job:
    """One piece of long work, as a panel shows it. Fields are written by the worker and read by anybody."""

    id: int
    title: str
    quiet: bool = False
    state: JobState = JobState.QUEUED
    done: float = 0.0
    total: float = 0.0
    message: str = ""
    started: float | None = None
    ended: float | None = None
    error: BaseException | None = None
    details: str = ""
    result: Any = None
    lines: list[str] = field(default_factory=list)
    delivered: bool = False
    #: What it runs on ("on tcp://host:8786"); empty where that needs no words.
    where: str = ""
    #: Whether nobody has asked for it yet.
    ahead: bool = False
    #: What becomes of what it has done, where it is cancelled.
    if_cancelled: str = "what is saved already is kept"
    #: Why it waits for a cluster ("No workers are connected ..."); empty where it does not.
    lost: str = ""
    _here: threading.Event = field(default_factory=threading.Event, repr=False)
    _cancel: threading.Event = field(default_factory=threading.Event, repr=False)
    _future: Future[Any] | None = field(default=None, repr=False)
    _over: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def over(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.state in OVER

    @property
    def fraction(self) -> float | None:
        """Finished share 0 .. 1; None where it is not known."""
        return None if self.total <= 0 else min(1.0, self.done / self.total)

    def time_left_s(self, now: float | None = None) -> float | None:
        """Seconds left at the present pace; None while there is nothing to judge by."""
        share = self.fraction
        if self.started is None or not share or self.over:
            return None
        elapsed = (time.monotonic() if now is None else now) - self.started
        return elapsed * (1.0 - share) / share

    def cancel(self) -> None:
        """Ask it to stop; a queued job never starts, a running one stops at its next check."""
        self._cancel.set()
        if self._future is not None:
            self._future.cancel()  # at once where it is queued: it must not wait for the job before it

    def go_on_here(self) -> None:
        """Do the rest on this computer, where it waits for a cluster without workers."""
        self._here.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it is over (from a script or a test; never from a window)."""
        return self._over.wait(timeout_s)


class Runner:
    """Submits jobs and delivers what they bring.

    Parameters
    ----------
    executor : Executor, optional
        Where the work runs; a pool of two local threads by default.
    wake : callable, optional
        Called from a worker thread when there is something to :meth:`deliver`; a window posts an event to itself.
    """

    def __init__(self, executor: Executor | None = None, wake: Callable[[], None] | None = None) -> None:
        self._executor = executor or ThreadPoolExecutor(max_workers=2, thread_name_prefix="job")
        self._at_once = ThreadPoolExecutor(max_workers=1, thread_name_prefix="at once")
        self._waiting = ThreadPoolExecutor(max_workers=2, thread_name_prefix="waiting")
        self._ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead")
        self.wake = wake or (lambda: None)
        self.jobs: list[Job] = []
        self._numbers = itertools.count(1)
        self._finished: queue.SimpleQueue[
            tuple[Job, Callable[[Any], None] | None, Callable[[Job], None] | None, Callable[[Job], None] | None]
        ] = queue.SimpleQueue()
        self._closed = False

    def submit(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        title: str,
        on_done: Callable[[Any], None] | None = None,
        on_failed: Callable[[Job], None] | None = None,
        on_end: Callable[[Job], None] | None = None,
        quiet: bool = False,
        at_once: bool = False,
        waits: bool = False,
        ahead: bool = False,
        seed: int = 0,
        where: str = "",
        if_cancelled: str = "",
    ) -> Job:
        """Run ``function(*arguments, context=JobContext)`` in the background.

        Parameters
        ----------
        function : callable
            Takes a keyword ``context``.
        title : str
            What the jobs panel calls it.
        on_done : callable, optional
            Gets the result in :meth:`deliver`, on the thread that calls it.
        on_failed : callable, optional
            Gets the job, there too. Neither is called for a job that was cancelled, also where that came after its
            end but before :meth:`deliver`: what it brings is not wanted any more.
        on_end : callable, optional
            Gets the job, there too, whatever became of it, after the others.
        quiet : bool
            True for small work that a panel should not list unless it fails.
        at_once : bool
            Not behind jobs that may take hours; such jobs run one after the other.
        waits : bool
            Not behind others either: it computes nothing, it waits for an answer from elsewhere.
        ahead : bool
            Before anybody asks for it: one at a time, and nothing that somebody waits for stands behind it.
        where, if_cancelled : str
            What a panel says of it; see :class:`Job`.
        """
        job = Job(next(self._numbers), title, quiet, where=where, ahead=ahead)
        job.if_cancelled = if_cancelled or job.if_cancelled
        if self._closed:
            job.state = JobState.CANCELLED
            job._over.set()
            return job
        forgotten = [j for j in self.jobs if j.delivered][:-200]
        dull = [j for j in self.jobs if j.delivered and j.quiet and j.state is not JobState.FAILED]
        self.jobs = [j for j in self.jobs if j not in forgotten and j not in dull]
        self.jobs.append(job)
        try:
            lanes = ((at_once, self._at_once), (waits, self._waiting), (ahead, self._ahead))
            executor = next((lane for chosen, lane in lanes if chosen), self._executor)
            future = executor.submit(self._run, job, function, arguments, seed)
        except BaseException:
            self.jobs.remove(job)
            raise
        job._future = future
        future.add_done_callback(lambda f: self._finish(job, f, on_done, on_failed, on_end))
        return job

    def _run(self, job: Job, function: Callable[..., Any], arguments: tuple[Any, ...], seed: int) -> Any:
        if job._cancel.is_set():
            raise Cancelled("cancelled before it started")
        job.state, job.started = JobState.RUNNING, time.monotonic()
        self.wake()

        def report(done: float, total: float, message: str) -> None:
            job.done, job.total, job.message = done, total, message

        def lost(why: str) -> None:
            job.lost = why

        context = JobContext(report, job._cancel.is_set, job.lines.append, seed, lost, job._here.is_set)
        try:
            return function(*arguments, context=context)
        except (MemoryError, OSError) as error:
            if not lacks_memory(error):
                raise
            raise EngineError(memory_reason(error)) from error

    def _finish(
        self,
        job: Job,
        future: Future[Any],
        on_done: Callable[[Any], None] | None,
        on_failed: Callable[[Job], None] | None,
        on_end: Callable[[Job], None] | None,
    ) -> None:
        job.ended = time.monotonic()
        error = Cancelled("cancelled") if future.cancelled() else future.exception()
        if error is None and not job._cancel.is_set():
            job.result, job.state = future.result(), JobState.DONE
        elif error is None or isinstance(error, Cancelled):
            job.state = JobState.CANCELLED
        else:
            job.error, job.details = error, "".join(traceback.format_exception(error))
            _let_go(error)
            job.state = JobState.FAILED  # last: who sees it over reads the rest at once, and does not look again
            if not isinstance(error, AnnotatorError):
                log.error("job %r failed\n%s", job.title, job.details)
        self._finished.put((job, on_done, on_failed, on_end))
        job._over.set()
        self.wake()

    def deliver(self) -> int:
        """Hand over what finished since the last call, on the caller's thread. Returns how many jobs ended."""
        n = 0
        while True:
            try:
                job, on_done, on_failed, on_end = self._finished.get_nowait()
            except queue.Empty:
                return n
            n += 1
            job.delivered = True
            result, job.result = job.result, None
            if job._cancel.is_set():
                job.state = JobState.CANCELLED
            elif job.state is JobState.DONE and on_done is not None:
                on_done(result)
            elif job.state is JobState.FAILED and on_failed is not None:
                on_failed(job)
            if on_end is not None:
                on_end(job)

    def active(self) -> list[Job]:
        """Jobs that are queued or running."""
        return [job for job in self.jobs if not job.over]

    @property
    def idle(self) -> bool:
        """Whether nothing runs and all that was brought has been delivered (a job is over a moment before that)."""
        return all(job.delivered for job in self.jobs)

    def cancel_all(self, timeout_s: float = 5.0) -> None:
        """Cancel everything and wait for what runs; nothing of what was submitted so far is handed over any more."""
        pending = [job for job in self.jobs if not job.delivered]
        for job in pending:  # all of them first: the end of a queued one is told at once, and may deliver the others
            job._cancel.set()
        for job in pending:
            job.cancel()
        limit = time.monotonic() + timeout_s
        for job in self.active():
            job.wait(max(0.0, limit - time.monotonic()))

    def wait(self, timeout_s: float = 60.0) -> bool:
        """Block until all jobs are over and deliver them (scripts and tests). False on timeout."""
        limit = time.monotonic() + timeout_s
        while True:
            self.deliver()  # which may submit more
            # Not `over`: that is said a moment before the result is ready to be delivered.
            pending = [job for job in self.jobs if not job._over.is_set()]
            if not pending and self._finished.empty():
                return True
            if pending and not pending[0].wait(max(0.0, limit - time.monotonic())):
                return False

    def close(self, timeout_s: float = 5.0) -> None:
        """Cancel everything and stop the pool."""
        if self._closed:
            return
        self._closed = True
        self.wake = lambda: None
        for pool in (self._executor, self._at_once, self._waiting, self._ahead):
            pool.shutdown(wait=False)
        self.cancel_all(timeout_s)


def _let_go(error: BaseException | None) -> None:
    """Forget what the functions that an error went through held: pictures, the window; the words are kept."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
