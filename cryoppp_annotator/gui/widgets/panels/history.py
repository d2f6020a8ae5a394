"""Who did what when, and the way back."""

from __future__ import annotations

from typing import ClassVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....errors import AnnotatorError
from ....session.core.session import Announcement
from ....store.changes import HistoryEntry
from ...workbench import Workbench

_SHOWN = 300


class HistoryPanel(QWidget):
    """The latest steps; undone ones are struck through.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "History"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._entries: list[HistoryEntry] = []
        self.undo = QPushButton("Undo")
        self.redo = QPushButton("Redo")
        self.undo.clicked.connect(lambda: bench.give("undo"))
        self.redo.clicked.connect(lambda: bench.give("redo"))
        self._back = QPushButton("Undo back to the marked step")
        self._back.setToolTip("Takes back every step of yours that came after the marked one")
        self._back.clicked.connect(self._on_back)
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["when", "who", "what"])
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.table.setWordWrap(False)
        self.table.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.table.setColumnWidth(0, 92)
        self.table.setColumnWidth(1, 60)
        self.table.setToolTip("Double click: go to the micrograph of that step")
        self.table.doubleClicked.connect(self._on_jump)
        buttons = QHBoxLayout()
        buttons.addWidget(self.undo)
        buttons.addWidget(self.redo)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(buttons)
        layout.addWidget(self.table, 1)
        layout.addWidget(self._back)
        bench.session.changed.connect(self._on_changed)
        bench.on_rekeyed.append(self._show_buttons)
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._bench.session.changed.disconnect(self._on_changed)

    def showEvent(self, event: object) -> None:
        """Read again what was not followed while hidden."""
        self.refresh()
        super().showEvent(event)

    def _on_changed(self, _announcement: Announcement) -> None:
        if self.isVisible():
            self.refresh()

    def refresh(self) -> None:
        """Read the history again."""
        try:
            steps = [e for e in self._bench.session.history(_SHOWN) if e.kind == "do" or e.verb == "merged"]
        except AnnotatorError as error:
            self._bench.say(str(error), "error")
            return
        self._entries = steps
        # one curator's name on every line says nothing and takes the room of what was done
        self.table.setColumnHidden(1, len({e.curator for e in steps}) < 2)
        self.table.setRowCount(len(steps))
        for row, entry in enumerate(steps):
            when = entry.at[5:16].replace("T", " ")
            for column, text in enumerate((when, entry.curator, entry.title)):
                item = QTableWidgetItem(text)
                font = item.font()
                font.setStrikeOut(entry.state not in ("applied", ""))  # a merged step has no state
                item.setFont(font)
                if entry.state == "abandoned":
                    item.setForeground(Qt.GlobalColor.gray)
                item.setToolTip(f"{entry.title}\n{entry.curator}, {entry.at} UTC, {entry.state}")
                self.table.setItem(row, column, item)
        self._show_buttons()

    def _show_buttons(self) -> None:
        focus = self._bench.focus
        for button, name in ((self.undo, "undo"), (self.redo, "redo")):
            command = self._bench.commands[name]
            why = command.why_not(focus)
            entry = self._bench.session.next_undo() if name == "undo" else self._bench.session.next_redo()
            button.setEnabled(not why)
            title = entry.title if entry else ""
            button.setToolTip(why or f"{command.title}: {title}{self._bench.keyed(f' ({{{name}}})')}")

    def _on_jump(self) -> None:
        entry = self._entries[self.table.currentRow()]
        if entry.micrograph is not None:
            self._bench.guarded(lambda: self._bench.session.go(entry.micrograph))

    def _on_back(self) -> None:
        row = self.table.currentRow()
        if row < 0:
            self._bench.say("mark a step first", "info")
            return
        marked, session = self._entries[row].id, self._bench.session
        session.when_free(lambda: self._back_to(marked))

    def _back_to(self, marked: int) -> None:
        session = self._bench.session
        while (entry := session.next_undo()) is not None and entry.id > marked:
            if not self._bench.guarded(session.undo):
                return
            if session.backlog is not None and session.backlog.waits(lambda: self._back_to(marked)):
                return  # a big step is taken back in the background
