"""*Help > Save a report* and *Help > Show the log*, in napari's Help menu and wherever else they are put."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy import API_NAME, QT_VERSION
from qtpy.QtCore import QObject, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QAction, QApplication, QFileDialog, QMenu, QMessageBox, QWidget

from ..batch.trouble import write_report
from ..session.core.session import Session
from .binding import is_alive
from .log_file import LogFile, log_path, read_log

#: Starts a job: work, and the words of :meth:`Bridge.start`.
Start = Callable[..., Any]


class ReportActions(QObject):
    """Two actions, and the log that they are about.

    Parameters
    ----------
    parent : QWidget
        The main window.
    menu : QMenu
        The actions are put at its end.
    session : callable
        The open session, or None.
    start : callable
        Starts a job (:meth:`Bridge.start`).
    """

    def __init__(self, parent: QWidget, menu: QMenu, session: Callable[[], Session | None], start: Start) -> None:
        super().__init__()
        self._window, self._session, self._start = parent, session, start
        self.save = QAction("Save a report…", self)
        self.save.setToolTip("Versions, what “doctor” says, and the end of the log, for whoever is to help")
        self.log = QAction("Show the log", self)
        self.log.setToolTip(f"Open {log_path()}")
        self.save.triggered.connect(self.ask)
        self.log.triggered.connect(lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_path()))))
        self._file = LogFile()
        self._menu = menu
        self._separator = menu.addSeparator()
        menu.addActions([self.save, self.log])

    def close(self) -> None:
        """Take both out of the menu, and log no more."""
        self._file.close()
        if is_alive(self._menu) and is_alive(self.save):
            for action in (self._separator, self.save, self.log):
                self._menu.removeAction(action)

    def ask(self) -> None:
        """Ask where to, and whether names may be in it."""
        name, _ = QFileDialog.getSaveFileName(self._window, "Save a report", "cryoppp-annotator-report.txt", "*.txt")
        if name:
            self.write(Path(name), names=self._may_have_names())

    def _may_have_names(self) -> bool:
        box = QMessageBox(self._window)
        box.setWindowTitle("Save a report")
        box.setText("Leave out the names of micrographs, folders and people?")
        without = box.addButton("Leave them out", QMessageBox.ButtonRole.AcceptRole)
        with_names = box.addButton("Keep them", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(without)
        box.exec_()
        return box.clickedButton() is with_names

    def write(self, path: Path, *, names: bool) -> None:
        """Write the report in the background, and say where it lies."""
        session, window, log = self._session(), self._of_window(), read_log()
        self._start(
            lambda context: write_report(path, log, session, window=window, names=names, context=context),
            title="report",
            on_done=lambda file: self._say(f"The report was saved: {file}"),
            on_failed=lambda job: self._say(f"The report cannot be saved: {job.error}"),
        )

    def _of_window(self) -> dict[str, str]:
        app = QApplication.instance()
        screen = self._window.screen() if hasattr(self._window, "screen") else app.primaryScreen()
        size = screen.size()
        return {
            "binding": f"{API_NAME}, Qt {QT_VERSION}, platform {app.platformName()}",
            "screen": f"{size.width()} x {size.height()}, scale {screen.devicePixelRatio():g}",
            "window": f"{self._window.width()} x {self._window.height()}",
        }

    def _say(self, text: str) -> None:
        from napari.utils.notifications import show_info

        show_info(text)
