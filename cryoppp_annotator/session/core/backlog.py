"""Big steps, written by another thread while the window goes on; steps asked for meanwhile wait for their turn.

A step over the whole data set keeps the database busy for up to some seconds. Reading goes on; what would write waits
here, in order, and is built when the big step is in the memory too, so that each step starts from the one before it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ...errors import AnnotatorError, Cancelled, Refused
from ...jobs.runner import Job, JobState, Runner
from ...model.context import JobContext
from ...model.curation import Table
from ...model.particles import tally
from ...store.store import Committed, StaleError
from .loaded_rows import Tallies

log = logging.getLogger(__name__)

#: Times a big step is built anew where another window keeps writing first.
_TRIES = 30

Work = Callable[[JobContext], Committed | None]


class Owner(Protocol):
    """What a backlog needs of its session."""

    def refresh(self) -> None:
        """Read everything again."""

    def say(self, text: str, level: str = "info") -> None:
        """Tell the curator."""


@dataclass(eq=False)
class _Writing:
    """One big step while it is written."""

    work: Work
    doing: str
    done: Callable[[Committed | None, Tallies], object]
    failed: Callable[[AnnotatorError], None] | None
    lost: Callable[[], object]
    job: Job | None = None
    ran: bool = False
    brought: Committed | None = None
    tallies: Tallies = ()
    error: Exception | None = None
    tries: int = 0


class Backlog:
    """One big step at a time, and what waits for it. All but the writing happens on the thread that made it.

    Parameters
    ----------
    owner : Session
    runner : Runner
        Runs the writing; its :meth:`~Runner.deliver` must be called on this thread.
    """

    def __init__(self, owner: Owner, runner: Runner) -> None:
        self._owner, self._runner = owner, runner
        self._thread = threading.get_ident()
        self._now: _Writing | None = None
        self._waiting: deque[Callable[[], object]] = deque()

    @property
    def busy(self) -> bool:
        """Whether a big step is being written."""
        return self._now is not None

    def waits(self, step: Callable[[], object]) -> bool:
        """Whether ``step`` has to wait for the big step; then it is done after it, and after those before it."""
        if self._now is None:
            return False
        self._waiting.append(step)
        n = len(self._waiting)
        self._owner.say(f"{self._now.doing} … · {n:,} more step{'s wait' if n > 1 else ' waits'} for it")
        return True

    def write(
        self,
        work: Work,
        doing: str,
        done: Callable[[Committed | None, Tallies], object],
        failed: Callable[[AnnotatorError], None] | None = None,
        lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin a big step; there must be none (:meth:`waits`).

        Parameters
        ----------
        work : callable
            Writes, on another thread; called again where another window has written first.
        doing : str
            What goes on ("rejecting 292,000 picks of class 3").
        done : callable
            Gets what was committed, and by how much the counts of micrographs have changed for each of its deltas of
            particles.
        failed : callable, optional
            Gets why nothing was written; by default it is said.
        lost : callable, optional
            Called after that, and where it was cancelled.
        """
        self._start(_Writing(work, doing, done, failed, lost))
        self._owner.say(f"{doing} …")

    def _start(self, writing: _Writing) -> None:
        def run(context: JobContext) -> None:
            try:
                writing.brought = writing.work(context)
                writing.ran = True
            except StaleError as error:
                writing.error = error  # nothing went wrong: it is built again
            except Exception as error:
                writing.error = error
                raise
            if writing.brought is not None:
                deltas = writing.brought.change.deltas
                writing.tallies = [tally(delta) for delta in deltas if delta.table is Table.PARTICLE]

        self._now, writing.error = writing, None
        writing.job = self._runner.submit(
            run,
            title=writing.doing,
            at_once=True,
            on_end=lambda _: self._end(writing),
            if_cancelled="nothing is changed",
        )

    def _end(self, writing: _Writing) -> None:
        if self._now is not writing:
            return  # it was waited for
        self._now = None
        if isinstance(writing.error, StaleError) and writing.tries < _TRIES:
            writing.tries += 1
            self._owner.refresh()
            self._start(writing)
            return
        try:
            self._close(writing)
        finally:
            self._go_on()

    def _close(self, writing: _Writing) -> None:
        if writing.ran:
            if writing.job is not None:
                writing.job.state = JobState.DONE  # a cancel that came too late changes nothing
            writing.done(writing.brought, writing.tallies)
            return
        if writing.error is None or isinstance(writing.error, Cancelled):
            self._owner.say(f"cancelled: {writing.doing}; nothing was changed", "warning")
        elif isinstance(writing.error, AnnotatorError) and writing.failed is not None:
            writing.failed(writing.error)
        else:
            self._owner.say(str(writing.error), "error")
        writing.lost()

    def _go_on(self) -> None:
        """Do what waited, until one of it is big."""
        while self._waiting and self._now is None:
            step = self._waiting.popleft()
            try:
                step()
            except Refused as refusal:
                self._owner.say(str(refusal), "info")
            except AnnotatorError as error:
                self._owner.say(str(error), "error")
            except Exception as error:  # the others must not be lost with it
                log.exception("a step that waited failed")
                self._owner.say(f"a step that waited failed: {error}", "error")

    def finish(self) -> None:
        """Block until nothing is being written and nothing waits (before closing; for what cannot wait)."""
        if threading.get_ident() != self._thread:
            return
        while (writing := self._now) is not None:
            if writing.job is not None:
                writing.job.wait()
            self._end(writing)
