"""The columns of the list of micrographs that a person may show, and the numbers in them, read in the background."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QMenu, QTableView

from ....model.curation import Table
from ....session.core.session import Announcement
from ....session.files import facts
from ...latest import Latest
from ...models.micrograph_table import COLUMNS, MORE, MicrographTable
from ...preferences import keep_preference, preference
from ...workbench import Workbench

_SHOWN = "columns of the list of micrographs"
_PAUSE_MS = 400
#: Width of a column of numbers, characters.
_WIDE = "88,888"
_PROBLEM = len(COLUMNS) - 1
#: Column of the curator that a micrograph is assigned to.
WHOSE = len(COLUMNS) + [fact.name for fact in MORE].index("whose")


class ListFacts(QObject):
    """Which columns are shown, and what fills them.

    Parameters
    ----------
    bench : Workbench
    table : QTableView
    model : MicrographTable
    """

    column_shown = Signal()

    def __init__(self, bench: Workbench, table: QTableView, model: MicrographTable) -> None:
        super().__init__()
        self._bench, self._table, self._model, self._latest = bench, table, model, Latest()
        self._names: frozenset[str] = frozenset()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._measure)
        head = table.horizontalHeader()
        head.moveSection(head.visualIndex(_PROBLEM), model.columnCount() - 1)
        wide = table.fontMetrics().horizontalAdvance(_WIDE) + 8
        shown = {str(name) for name in preference(_SHOWN, [])}
        for k, fact in enumerate(MORE, len(COLUMNS)):
            table.setColumnWidth(k, max(wide, table.fontMetrics().horizontalAdvance(fact.name) + 16))
            table.setColumnHidden(k, fact.name not in shown)
        head.moveSection(head.visualIndex(WHOSE), 2)  # beside the name, where it is seen in a narrow list, too
        self._whose_was_shown = False
        self._show_whose()
        head.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        head.customContextMenuRequested.connect(self._on_menu)
        bench.session.changed.connect(self._on_changed)
        self.refresh()

    def close(self) -> None:
        """Stop following the session."""
        self._latest.close()
        self._timer.stop()
        self._bench.session.changed.disconnect(self._on_changed)

    # ------------------------------------------------------------------ which columns

    def shown(self) -> list[str]:
        """Names of the columns that a person asked for."""
        return [f.name for k, f in enumerate(MORE, len(COLUMNS)) if not self._table.isColumnHidden(k)]

    def show_column(self, name: str, shown: bool) -> None:
        """Show or hide a column, now and at the next start."""
        column = len(COLUMNS) + [fact.name for fact in MORE].index(name)
        self._table.setColumnHidden(column, not shown)
        self.column_shown.emit()
        keep_preference(_SHOWN, self.shown())
        self.refresh()

    def fill(self, menu: QMenu) -> None:
        """A tick for each column."""
        shown = self.shown()
        for fact in MORE:
            action = menu.addAction(fact.name)
            action.setToolTip(fact.about)
            action.setCheckable(True)
            action.setChecked(fact.name in shown)
            action.toggled.connect(lambda on, name=fact.name: self.show_column(name, on))
        menu.setToolTipsVisible(True)

    def _on_menu(self, position: object) -> None:
        menu = QMenu(self._table)
        menu.addSection("Columns")
        self.fill(menu)
        menu.exec_(self._table.horizontalHeader().mapToGlobal(position))

    # ------------------------------------------------------------------ what is in them

    def _needed(self) -> frozenset[str]:
        return frozenset(name for name in {*self.shown(), *self._model.needs()} if facts.BY_NAME[name].measured)

    def refresh(self) -> None:
        """Read what is shown or asked for, where it was not yet."""
        if not self._needed() <= self._names:
            self._measure()

    def later(self, *_what: object) -> None:
        """Read it again when there is a pause."""
        if self._needed():
            self._timer.start()
        else:
            self._names = frozenset()  # what was read is out of date

    def _show_whose(self) -> None:
        """Once micrographs are assigned, whose they are is shown, until a person hides the column."""
        if not self._whose_was_shown and any(m.assigned for m in self._bench.session.micrographs):
            self._whose_was_shown = True
            self._table.setColumnHidden(WHOSE, False)
            self.column_shown.emit()

    def _on_changed(self, announcement: Announcement) -> None:
        self._show_whose()
        if announcement.touches(Table.PARTICLE) or announcement.touches(Table.MICROGRAPH):
            self.later()

    def _measure(self) -> None:
        self._names = names = self._needed()
        if not names or not self._latest.ask():
            return
        session = self._bench.session
        self._bench.start(
            lambda context: facts.measure(session, names, context=context),
            title="read numbers of the list",
            on_done=self._latest.only(self._model.set_measured),
            on_failed=self._latest.only(lambda _job: self._latest.forget()),
            quiet=True,
        )


def example(names: Sequence[str] = ()) -> str:
    """What can be written into the filter, for its tooltip."""
    listed = ", ".join(names or [fact.name for fact in facts.FACTS])
    return (
        "Part of a name, or a comparison: res > 6, und > 0, state == todo;\n"
        f"joined with and, or, not and brackets.\nThere are {listed}.\n"
        "und counts what the list shows: the undecided picks at or above the threshold, where there is one"
    )
