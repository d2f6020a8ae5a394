"""Who did what when, and the way back."""

from __future__ import annotations

import datetime
from functools import partial
from pathlib import Path
from typing import ClassVar

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....errors import AnnotatorError
from ....formats.atomic import write_text
from ....model.context import JobContext
from ....session.core.edits import count_of
from ....session.core.session import Announcement, Session
from ....session.review import history, sets
from ....session.review.history import HistoryScope, PickEvent
from ....store.changes import HistoryEntry
from ...latest import Latest
from ...workbench import Workbench
from ..parts.eliding_combo import ElidingCombo
from ..parts.film import Film

_SHOWN = 300


_PROJECT = HistoryScope()


class HistoryPanel(QWidget):
    """The latest steps, of the project or about something in it; undone ones are struck through.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "History"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._entries: list[HistoryEntry] = []
        self._latest = Latest()
        self.of = ElidingCombo()
        self.film = Film(bench)
        self.csv, self.compare = QPushButton("Save as CSV…"), QPushButton("Compare")
        self.csv.setToolTip("Writes what each step did to each pick: who, when, what, with what")
        self.compare.setToolTip("Compares what was accepted after the marked step with now, or after two marked steps")
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
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.table.setWordWrap(True)  # what was done is read whole
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setTextElideMode(Qt.TextElideMode.ElideRight)
        for column in (0, 1):
            self.table.horizontalHeader().setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.table.setToolTip("Double click: go to the micrograph of that step")
        self.table.doubleClicked.connect(self._on_jump)
        buttons = QHBoxLayout()
        buttons.addWidget(self.undo)
        buttons.addWidget(self.redo)
        below = QGridLayout()
        below.addWidget(self._back, 0, 0, 1, 2)
        below.addWidget(self.compare, 1, 0)
        below.addWidget(self.csv, 1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(buttons)
        layout.addWidget(self.of)
        layout.addWidget(self.table, 1)
        layout.addLayout(below)
        layout.addWidget(self.film)
        self.of.activated.connect(lambda _row: self.refresh())
        self.csv.clicked.connect(self._on_csv)
        self.compare.clicked.connect(self._on_compare)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._on_current)
        bench.on_rekeyed.append(self._show_buttons)
        self._fill(_PROJECT)
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._latest.close()
        self._bench.session.changed.disconnect(self._on_changed)
        self._bench.session.current_changed.disconnect(self._on_current)

    def showEvent(self, event: object) -> None:
        """Read again what was not followed while hidden."""
        self.refresh()
        super().showEvent(event)

    def _on_changed(self, _announcement: Announcement) -> None:
        if self.isVisible():
            self.refresh()

    def _on_current(self) -> None:
        if self.isVisible():
            self._fill(self.scope)

    # ------------------------------------------------------------------ what it is about

    @property
    def scope(self) -> HistoryScope:
        """What the steps in the table are about."""
        scope: HistoryScope = self.of.currentData()
        return scope

    def show_about(self, scope: HistoryScope) -> None:
        """List the steps about something."""
        self._fill(scope)
        self.refresh()

    def _fill(self, chosen: HistoryScope) -> None:
        """Offer what there is; a pick only once it was asked for."""
        session = self._bench.session
        offers = {_PROJECT: "all steps of the project"}
        about = {session.current_id, chosen.micrograph} - {None}
        offers |= {
            HistoryScope(micrograph=i): f"micrograph {session.micrograph(i).name}" for i in about if i is not None
        }
        if chosen.particle is not None:
            offers[chosen] = f"pick {chosen.particle}"
        offers |= {HistoryScope(pick_set=i): f"set: {sets.named(session, i)}" for i in session.pick_sets}
        self.of.clear()
        for scope, text in offers.items():
            self.of.addItem(text, scope)
        self.of.setCurrentIndex(max(0, list(offers).index(chosen) if chosen in offers else 0))

    def refresh(self) -> None:
        """Read the history again."""
        scope, session = self.scope, self._bench.session
        self.of.setToolTip(f"What the steps are about: {self.of.currentText()}")
        self._latest.forget()
        if scope != _PROJECT:
            self._latest.ask()
            self._bench.start(
                partial(_read, session, scope),
                title="read the history",
                on_done=self._latest.only(lambda answer: self._show(*answer)),
                quiet=True,
                on_failed=self._bench.job_failed,
            )
            return
        try:
            steps = [e for e in session.history(_SHOWN) if e.kind == "do" or e.verb == "merged"]
        except AnnotatorError as error:
            self._bench.say(str(error), "error")
            return
        self._show(steps)

    def _show(self, steps: list[HistoryEntry], what: dict[int, str] | None = None) -> None:
        self._entries, today = steps, f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
        # one curator's name on every line says nothing and takes the room of what was done
        self.table.setColumnHidden(1, len({e.curator for e in steps}) < 2)
        self.table.setRowCount(len(steps))
        for row, entry in enumerate(steps):
            when = entry.at[11:16] if entry.at[:10] == today else entry.at[5:16].replace("T", " ")
            title = entry.title if what is None else what.get(entry.id, entry.title)
            title = title if entry.kind == "do" or what is None else f"{entry.kind}: {title}"
            for column, text in enumerate((when, entry.curator, title)):
                item = QTableWidgetItem(text)
                font = item.font()
                font.setStrikeOut(entry.state not in ("applied", ""))  # a merged step has no state
                item.setFont(font)
                if entry.state == "abandoned":
                    item.setForeground(Qt.GlobalColor.gray)
                item.setToolTip(f"{entry.title}\n{entry.curator}, {entry.at} UTC, {entry.state or entry.kind}")
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

    # ------------------------------------------------------------------ what is made of it

    def _marked(self) -> list[int]:
        """Numbers of the marked history lines, the earliest first."""
        rows = {index.row() for index in self.table.selectionModel().selectedRows()}
        return sorted(self._entries[row].id for row in rows)

    def _on_compare(self) -> None:
        marked = self._marked()
        if not 1 <= len(marked) <= 2:
            self._bench.say("mark one step, or two with Ctrl+click, to compare what was accepted then")
            return
        second = sets.ACCEPTED if len(marked) == 1 else sets.moment_set(marked[1])
        self._bench.compare_requested.emit(sets.moment_set(marked[0]), second)

    def _on_csv(self) -> None:
        bench, scope = self._bench, self.scope
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the history", str(bench.session.data_root / "history.csv"), "CSV (*.csv)"
        )
        if not name or bench is not self._bench:
            return
        session = bench.session

        def work(context: JobContext) -> int:
            events: list[PickEvent] = history.pick_events(session, scope, context)
            write_text(Path(name), history.as_csv(events))
            return len(events)

        bench.start(
            work,
            title=f"write {Path(name).name}",
            on_done=lambda n: bench.say(f"wrote {count_of(n, 'row')} to {name}"),
        )

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


def _read(
    session: Session, scope: HistoryScope, context: JobContext | None = None
) -> tuple[list[HistoryEntry], dict[int, str]]:
    """Steps about something, newest first, and of a pick what became of it."""
    quiet = context or JobContext()
    steps = history.steps_about(session, scope, quiet)
    if scope.particle is None:
        return steps, {}
    return steps, {event.step: event.what for event in history.pick_events(session, scope, quiet)}
