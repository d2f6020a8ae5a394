"""Classifications that could not be saved (the disk is full): kept and offered until they are saved or discarded."""

from __future__ import annotations

import logging

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QMessageBox, QPushButton, QSizePolicy, QToolButton, QWidget

from ....errors import AnnotatorError
from ....jobs.runner import Job, JobState
from ....session.classes import decide
from ....session.classes.decide import RunResult
from ...workbench import Workbench

log = logging.getLogger(__name__)


class UnsavedBox(QWidget):
    """A line that is there while something is held.

    Parameters
    ----------
    bench : Workbench
    """

    saved = Signal(object, object)  # the ClassRun, notes about it

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session = bench, bench.session
        self._saving = False
        self.held: list[RunResult] = []
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.again = QPushButton("Save again")
        self.away = QToolButton()
        bench.icons.put(self.away, "cancel")
        self.again.clicked.connect(self.save_again)
        self.away.clicked.connect(self._on_away)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.message, 1)
        row.addWidget(self.again)
        row.addWidget(self.away)
        bench.themed.connect(self._colour)
        self._colour()
        self._show()

    def _colour(self) -> None:
        self.message.setStyleSheet(f"color: {self._bench.ink('warning')};")

    def _show(self) -> None:
        self.setVisible(bool(self.held))
        why = "" if self.held and not self._saving else "it is being saved" if self.held else "nothing is unsaved"
        names = [f"“{result.run.name}”" for result in self.held]
        for button, tip in (
            (self.again, "Tries to save these classes once more: free some space first"),
            (self.away, f"Discards {names[0] if names else 'them'}; picks and decisions stay"),
        ):
            button.setEnabled(not why)
            button.setToolTip(why or tip)
        if names:
            more = len(names) - 1
            rest = f", nor {'is' if more == 1 else 'are'} {more} more" if more else ""
            self.message.setText(f"Not saved yet: {names[0]}{rest}")
            self.message.setToolTip("\n".join([*names, "kept in memory; your picks are safe"]))

    def keep(self, result: RunResult) -> None:
        """Hold a run until it is saved or discarded."""
        self.held.append(result)
        self._show()

    def save_again(self) -> None:
        """Try to save what is held, in the background, the oldest first; what cannot be saved stays held."""
        if self._saving or not self.held:
            return
        result, session = self.held[0], self._session
        self._saving = True
        self._show()
        self._bench.start(
            lambda context: decide.save(session, result, context=context),
            title="save the classes",
            on_done=lambda saved: session.when_free(lambda: self._enter(result, saved)),
            on_end=self._on_end,
        )

    def _on_end(self, job: Job) -> None:
        if job.state is not JobState.DONE:  # else it is entered, perhaps later
            self._saving = False
            self._show()

    def _enter(self, held: RunResult, saved: RunResult) -> None:
        self._saving = False
        try:
            run = decide.enter_run(self._session, saved)
        except AnnotatorError as error:
            self._bench.say(str(error), "error")
        else:
            self.held.remove(held)
            self.saved.emit(run, saved.notes)
            self.save_again()
        self._show()

    def _on_away(self) -> None:
        result = self.held[0]
        asked = QMessageBox.question(
            self,
            "Discard these classes?",
            f"“{result.run.name}” could not be saved and is lost then. Picks and decisions stay. "
            "This cannot be undone.",
        )
        if asked == QMessageBox.StandardButton.Yes and result in self.held and not self._saving:
            self.held.remove(result)
            self._bench.say(f"discarded the classes {result.run.name}", "info")
            self._show()

    def close_panel(self) -> None:
        """The project closes: try a last time. What cannot be saved even now stays in :attr:`held`."""
        for result in list(self.held):
            try:
                decide.enter_run(self._session, decide.save(self._session, result))
            except AnnotatorError as error:
                log.warning("the classes %s are lost: %s", result.run.name, error)
            else:
                self.held.remove(result)
