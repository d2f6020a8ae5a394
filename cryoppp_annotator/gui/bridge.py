"""Carries news from worker threads to Qt's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from ..jobs.runner import Job, Runner


class Bridge(QObject):
    """Lets a :class:`Runner` wake the window, and the window show progress ten times a second while it matters.

    Parameters
    ----------
    runner : Runner
    """

    ticked = Signal()
    _woken = Signal()

    def __init__(self, runner: Runner) -> None:
        super().__init__()  # no Qt parent: it must outlive a window that is being destroyed
        self._runner = runner
        self._closed = False
        self._timer = QTimer(self)
        self._timer.setInterval(100)
        self._timer.timeout.connect(self._on_tick)
        # queued also where it is emitted on this thread (a queued job that is cancelled): nothing may arrive in the
        # middle of what the window is doing
        self._woken.connect(self._on_woken, Qt.ConnectionType.QueuedConnection)
        runner.wake = self._wake

    def start(self, work: Callable[..., Any], **options: Any) -> Job:
        """Run ``work(context=JobContext)`` in the background, and show at once that it has begun.

        Parameters
        ----------
        work : callable
        **options
            As :meth:`Runner.submit` takes them.
        """
        job = self._runner.submit(work, **options)
        if not job.quiet:
            self.ticked.emit()
        return job

    def _wake(self) -> None:
        self._woken.emit()

    def _on_woken(self) -> None:
        if self._closed:
            return
        self._runner.deliver()
        if self._runner.active():
            self._timer.start()
        self.ticked.emit()

    def _on_tick(self) -> None:
        self._runner.deliver()
        if not self._runner.active():
            self._timer.stop()
        self.ticked.emit()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        self._timer.stop()
        self._runner.wake = lambda: None
