"""What has become of the micrographs' files, above the list: new ones, changed ones, and what to do about them."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ....session.core import bookkeeping, opening, watch
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ...workbench import Workbench
from ..dialogs.changed_dialog import ChangedDialog


class FileNewsBox(QWidget):
    """Lines that are there only while there is something to say.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session, self._watcher = bench, bench.session, bench.watcher
        self.new = QLabel()
        self.add = QPushButton("Add")
        self.add.setToolTip("Add them to the project")
        self.always = QCheckBox("always")
        self.always.setToolTip("Take new micrographs of this folder without asking, as they are recorded")
        self.always.setChecked(self._watcher.takes_new)
        self.changed = QLabel()
        self.settle = QPushButton("What now…")
        self.settle.setToolTip("Say what becomes of the picks on them")
        self.gone = QLabel()
        self.find = QPushButton("Find…")
        self.find.setToolTip("Show the folder where the micrographs are now")
        self._rows = [
            _row(self.new, self.add, self.always),
            _row(self.changed, self.settle),
            _row(self.gone, self.find),
        ]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for row in self._rows:
            layout.addWidget(row)
        self.add.clicked.connect(lambda: self._watcher.take())
        self.always.toggled.connect(self._watcher.set_takes_new)
        self.settle.clicked.connect(self.ask_what_now)
        self.find.clicked.connect(self.ask_where)
        self._watcher.changed.connect(self.refresh)
        self._session.changed.connect(self._on_changed)
        self.refresh()

    def close_part(self) -> None:
        """Stop following the session."""
        self._watcher.changed.disconnect(self.refresh)
        self._session.changed.disconnect(self._on_changed)

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.change is None or announcement.change.verb == "changed":
            self.refresh()

    def refresh(self) -> None:
        """Show what there is to say."""
        changed = watch.changed(self._session)
        n_new, n_gone = len(self._watcher.new), len(self._watcher.gone)
        self.new.setText(f"{n_new:,} new in the folder")
        self.new.setToolTip("\n".join(path.name for path in self._watcher.new[:20]))
        self.changed.setText(f"{count_of(len(changed), 'micrograph')} changed since picking")
        self.changed.setToolTip("\n".join(f"{m.name}: {m.problem}" for m in changed[:20]))
        self.gone.setText(f"{count_of(n_gone, 'file')} not there")
        self.gone.setToolTip("\n".join(self._watcher.gone[:20]))
        for row, shown in zip(self._rows, (n_new, len(changed), n_gone), strict=True):
            row.setVisible(bool(shown))
        self.setVisible(bool(n_new or changed or n_gone))

    def ask_what_now(self) -> None:
        """Ask what becomes of the picks on changed micrographs."""
        if not watch.changed(self._session):  # settled in another window, or the file is as it was
            self._bench.say("no micrograph has changed since it was picked")
            self.refresh()
            return
        dialog = ChangedDialog(self._bench, self._bench.window)
        self._bench.closing.connect(dialog.reject)
        dialog.show()

    def ask_where(self) -> None:
        """Ask where the micrographs are now."""
        chosen = QFileDialog.getExistingDirectory(self, "Folder of the micrographs")
        if chosen:
            self.relink(Path(chosen))

    def relink(self, folder: Path) -> None:
        """Take the micrographs from another folder."""
        session = self._session
        if self._bench.guarded(lambda: bookkeeping.move_data_root(session, opening.find_moved(session, folder))):
            self._watcher.check_now()
            self._bench.show.retry_problems()


def _row(label: QLabel, *controls: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(label, 1)
    for control in controls:
        layout.addWidget(control)
    return row
