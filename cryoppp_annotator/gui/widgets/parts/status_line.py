"""The line at the bottom: what just happened, what runs, and a way to stop it."""

from __future__ import annotations

import re

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QSizePolicy, QToolButton, QWidget
from superqt import QElidingLabel

from ....jobs.runner import Job
from ....session.core.edits import count_of
from ...workbench import Workbench
from ..panels.jobs import Remaining

#: The job takes no more of the line than this, px.
_WIDEST_JOB = 360
#: A word longer than this (a micrograph's name) loses its beginning, which is the same for all of them.
_LONG_WORD = 22


def shortened(text: str) -> str:
    """A message with long names cut from the left; paths are left whole."""
    return re.sub(r"(?<!\S)[^\s/\\]+(?!\S)", lambda match: _tail(match[0]), text)


def _tail(word: str) -> str:
    return word if len(word) <= _LONG_WORD else f"…{word[-_LONG_WORD + 1 :]}"


class StatusLine(QWidget):
    """Message, progress of the first job, cancel.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._remaining = Remaining()
        self.message = QElidingLabel()
        self.message.setTextFormat(Qt.TextFormat.PlainText)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._job = QElidingLabel()
        self._bar = QProgressBar()
        self._bar.setMaximumWidth(140)
        self._bar.setMaximumHeight(12)
        self._bar.setTextVisible(False)
        self._cancel = QToolButton()
        bench.icons.put(self._cancel, "cancel")
        self._cancel.setToolTip("Cancel the job that is shown")
        self._cancel.clicked.connect(self._on_cancel)
        # not in a layout of this widget: each new text would have the whole window arranged anew, 10 ms a time
        self._inside = QWidget(self)
        layout = QHBoxLayout(self._inside)
        layout.setContentsMargins(8, 0, 8, 0)
        self.message.setWordWrap(True)
        self.setFixedHeight(2 * self.fontMetrics().lineSpacing() + 4)  # two rows, which keep their room
        self.history, self.jobs = QToolButton(), QToolButton()
        for button, icon, text, tip in (
            (self.history, "history", "History", "Every step, and the way back"),
            (self.jobs, "jobs", "Jobs", "What runs in the background, and what has run"),
        ):
            button.setText(text)
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            bench.icons.put(button, icon)
            button.setToolTip(tip)
        layout.addWidget(self.message, 1)
        for widget in (self._job, self._bar, self._cancel, self.history, self.jobs):
            layout.addWidget(widget)
        bench.said.connect(self.show_message)
        bench.bridge.ticked.connect(self.refresh)
        bench.themed.connect(self._colour)
        self._level = "info"
        self._shown: Job | None = None
        self._colour()
        self.refresh()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The line fills its room."""
        self._inside.setGeometry(self.rect())
        super().resizeEvent(event)

    def sizeHint(self) -> QSize:
        """As wide as what it holds would be."""
        return QSize(self._inside.sizeHint().width(), self.height())

    def minimumSizeHint(self) -> QSize:
        """As wide as what cannot be cut."""
        return QSize(self._inside.minimumSizeHint().width(), self.height())

    def show_message(self, text: str, level: str = "info") -> None:
        """Say what just happened; the tooltip has it in full."""
        if level != self._level:  # a style sheet costs as much as a commit
            self._level = level
            self._colour()
        self.message.setText(shortened(text))
        self.message.setToolTip(text)

    def _colour(self) -> None:
        colour = self._bench.ink(self._level)
        self.message.setStyleSheet(f"color: {colour};" if colour else "")

    def refresh(self) -> None:
        """Follow the jobs."""
        active = self._bench.runner.active()
        listed = [job for job in active if not job.quiet]
        self._shown = listed[0] if listed else None
        for widget in (self._bar, self._cancel):
            widget.setVisible(bool(listed))
        if not listed:
            self._show_job(f"preparing {count_of(len(active), 'picture')}…" if active else "")
            return
        job = listed[0]
        self._cancel.setToolTip(f"Cancel this job; {job.if_cancelled}")
        more = f" (+{len(listed) - 1})" if len(listed) > 1 else ""
        left = self._remaining.text(job)
        self._show_job(" · ".join(w for w in (f"{job.title}{more}", job.message, left) if w))
        self._bar.setRange(0, 0 if job.fraction is None else 1000)
        self._bar.setValue(int(1000 * (job.fraction or 0)))

    def _show_job(self, text: str) -> None:
        if text != self._job.text():
            wide = self._job.fontMetrics().horizontalAdvance(text) + 8
            self._job.setFixedWidth(min(_WIDEST_JOB, wide) if text else 0)
            self._job.setText(text)
            self._job.setToolTip(text)

    def _on_cancel(self) -> None:
        if self._shown is not None:  # that one, not another that has come to its place since
            self._bench.cancel(self._shown)
