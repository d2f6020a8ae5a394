"""What runs in the background: progress, time left, cancel, and why something failed."""

from __future__ import annotations

import math
import time
from typing import ClassVar

from qtpy.QtCore import Signal
from qtpy.QtGui import QTextCursor
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ....jobs.runner import Job, JobState
from ...icons import Icons
from ...workbench import Workbench
from ..dialogs.run_on_dialog import RunOnBox

#: From this share on a job's pace is a pace, and an estimate follows it within so many seconds.
_JUDGED = 0.05
_FOLLOWS_S = 20.0
#: Last lines of a job's log that are shown.
_LOG_LINES = 500
#: Height of the log, px.
_LOG_HEIGHT = 150


def time_left(seconds: float | None) -> str:
    """``2 min left``."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s left"
    return f"{seconds / 60:.0f} min left"


class Remaining:
    """How long a job still takes, as a person can plan by it: it follows the pace, and does not jump with it."""

    def __init__(self) -> None:
        self._job = -1
        self._end = self._asked_at = 0.0

    def text(self, job: Job, now: float | None = None) -> str:
        """``2 min left``; nothing while there is too little to judge by."""
        now = time.monotonic() if now is None else now
        left = job.time_left_s(now)
        if left is None or (job.fraction or 0.0) < _JUDGED:
            return ""
        if job.id != self._job:
            self._job, self._end = job.id, now + left
        else:
            share = 1.0 - math.exp(-(now - self._asked_at) / _FOLLOWS_S)
            self._end += share * (now + left - self._end)
        self._asked_at = now
        return time_left(max(0.0, self._end - now))


def took(job: Job) -> str:
    """``12 s``; how long a job that is over has worked, empty where it never began."""
    if job.started is None or job.ended is None:
        return ""
    seconds = job.ended - job.started
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class JobRow(QFrame):
    """One job."""

    cancelled = Signal(object)  # a person wants it stopped
    lost = Signal(object)  # its cluster has no workers

    def __init__(self, job: Job, icons: Icons) -> None:
        super().__init__()
        self.job = job
        self._remaining = Remaining()
        self._title = QLabel(job.title)
        self._title.setWordWrap(True)
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setMaximumHeight(10)
        self._note = QLabel()
        self._note.setWordWrap(True)
        self._cancel = QToolButton()
        icons.put(self._cancel, "cancel")
        self._cancel.setToolTip(f"Cancel; {job.if_cancelled}")
        self._cancel.clicked.connect(self._on_cancel)
        self._here = QPushButton("Go on here")
        self._here.setToolTip("Do the rest on this computer instead of waiting for workers; what is finished is kept")
        self._here.clicked.connect(job.go_on_here)
        self._here.hide()
        self._lost = ""
        self._details = QPushButton("details")
        self._details.setCheckable(True)
        self._details.setToolTip("What the job wrote, for a report")
        self._details.hide()
        self._text = QPlainTextEdit()
        self._text.setReadOnly(True)
        self._text.setMaximumHeight(_LOG_HEIGHT)  # the other jobs stay in sight
        self._text.hide()
        self._details.toggled.connect(self._unfold)
        top = QHBoxLayout()
        top.addWidget(self._title, 1)
        top.addWidget(self._details)
        top.addWidget(self._here)
        top.addWidget(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(top)
        layout.addWidget(self._bar)
        layout.addWidget(self._note)
        layout.addWidget(self._text)
        self._shown: tuple[JobState, int] | None = None
        self.show_state()
        self._lost = ""  # nobody has listened yet

    def follow(self) -> None:
        """Show what is new of the job."""
        is_now = (self.job.state, len(self.job.lines))
        if not self.job.over or is_now != self._shown:
            self.show_state()
        self._shown = is_now

    def show_state(self) -> None:
        """Show the job as it is."""
        job = self.job
        self._bar.setVisible(not job.over)
        self._cancel.setVisible(not job.over)
        if job.fraction is None:
            self._bar.setRange(0, 0)
        else:
            self._bar.setRange(0, 1000)
            self._bar.setValue(int(1000 * job.fraction))
        log = "\n".join(job.lines[-_LOG_LINES:])
        if job.state is JobState.FAILED:
            self._note.setText(f"failed: {job.error}")
            self._show_text("\n".join(part for part in (job.details, log) if part), "details")
        else:
            left = took(job) if job.over else self._remaining.text(job)
            waits = "" if job.over else job.lost
            words = (waits,) if waits else (job.state.value, job.where, job.message, left)
            self._note.setText(" · ".join(w for w in words if w))
            self._here.setVisible(bool(waits))
            if waits != self._lost:
                self._lost = waits
                self.lost.emit(job)
            if log:
                self._show_text(log, f"log ({len(job.lines)})")

    def _on_cancel(self) -> None:
        self.cancelled.emit(self.job)

    def _unfold(self, shown: bool) -> None:
        self._text.setVisible(shown)
        self._text.moveCursor(QTextCursor.MoveOperation.End)

    def _show_text(self, text: str, button: str) -> None:
        if text == self._text.toPlainText():  # a selection in it is kept
            return
        bar = self._text.verticalScrollBar()
        at, at_end = bar.value(), bar.value() == bar.maximum()
        self._text.setPlainText(text)
        bar.setValue(bar.maximum() if at_end else at)
        self._details.setText(button)
        self._details.show()


class JobsPanel(QWidget):
    """All jobs of this window that are worth listing, the newest first.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Jobs"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._rows: dict[int, JobRow] = {}
        self.run_on = RunOnBox(bench)
        self._denoise = QPushButton("Denoise all micrographs ahead")
        self._denoise.clicked.connect(self._on_denoise_all)
        self._empty = QLabel("Nothing runs. Pictures of the next micrographs are prepared automatically.")
        self._empty.setWordWrap(True)
        inner = QWidget()
        self._list = QVBoxLayout(inner)
        self._list.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inner)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addWidget(self.run_on)
        layout.addWidget(self._denoise)
        layout.addWidget(self._empty)
        layout.addWidget(area, 1)
        bench.bridge.ticked.connect(self.refresh)
        bench.run_on.changed.connect(self._tell_where)
        self._tell_where()

    def _tell_where(self) -> None:
        words = [
            "Fills the project's cache, so that every micrograph opens denoised at once",
            self._bench.run_on.tooltip,
        ]
        self._denoise.setToolTip("\n".join(word for word in words if word))

    def refresh(self) -> None:
        """Follow the runner."""
        listed = [j for j in self._bench.runner.jobs if not j.quiet or j.state is JobState.FAILED]
        self._empty.setVisible(not listed)
        for number in set(self._rows) - {job.id for job in listed}:  # the runner forgets those long over
            self._rows.pop(number).deleteLater()
        for job in listed:
            if job.id not in self._rows:
                self._rows[job.id] = JobRow(job, self._bench.icons)
                self._rows[job.id].cancelled.connect(self._bench.cancel)
                self._rows[job.id].lost.connect(self._tell_lost)
                self._list.insertWidget(0, self._rows[job.id])
            self._rows[job.id].follow()

    def _tell_lost(self, job: Job) -> None:
        if job.lost:
            self._bench.say(f"{job.lost}: cancel “{job.title}”, or let it go on here (Jobs)", "warning", "workers")
        else:
            self._bench.over("workers")

    def _on_denoise_all(self) -> None:
        run_on = self._bench.run_on
        self._bench.pictures.denoise_all(
            self._bench.session.micrographs, scheduler=run_on.scheduler, where=run_on.where
        )
        self.refresh()
