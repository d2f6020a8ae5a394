"""The list of micrographs: state, counts, filter, sort, progress."""

from __future__ import annotations

import re
from dataclasses import replace

from qtpy.QtCore import QItemSelectionModel, QModelIndex, Qt, QTimer, Signal
from qtpy.QtGui import QFontMetrics, QKeyEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QProgressBar,
    QSizePolicy,
    QStyle,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from ....errors import AnnotatorError
from ....model.curation import Decision
from ....model.which import Which
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....store.store import Store
from ...latest import Latest
from ...models.micrograph_table import FILTERS, MicrographTable, bold
from ...recent import name_of
from ...workbench import Workbench
from ..parts.counts_bar import CountsBar
from ..parts.file_news import FileNewsBox
from ..parts.list_facts import WHOSE, ListFacts, example
from ..parts.micrograph_menu import MicrographMenu
from .dataset import DatasetPlot

#: Column of the name, and how narrow it may become, px.
_NAME = 1
_LEAST_NAME = 64
_USUAL_NAME = 112
#: Columns of numbers, and the least width of a panel that shows them, px.
_NUMBERS = (2, 3, 4, 5)
_WIDE = 300
#: In napari the list is one dock of several: a row and the heads are kept, px.
_LEAST_ROWS = 48
_ONLY = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows


class _Search(QLineEdit):
    """A filter that gives the keys back when it was cleared with its ✖, or left with Enter or Esc."""

    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setClearButtonEnabled(True)
        for clear in self.findChildren(QToolButton):
            clear.clicked.connect(self.left)
            clear.setToolTip("Show all again")
        self.returnPressed.connect(self.left)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Esc leaves it."""
        if event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)


class MicrographsPanel(QWidget):
    """The left panel.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._session = bench.session
        self.model = MicrographTable(bench.session, bench.ink)
        self._progress = QProgressBar()
        self._progress.setTextVisible(True)
        self._states = QComboBox()
        self._states.addItems(FILTERS)
        self._states.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._states.setMinimumContentsLength(8)
        self._states.setToolTip("Show only micrographs of this state; Next and Previous follow the list")
        self._search = _Search()
        self._search.setPlaceholderText("name, res > 6")
        self._search.setToolTip(example())
        wide = self._search.fontMetrics().horizontalAdvance("res > 6 and und > 0") + 44
        self._search.setStyleSheet(f"min-width: {wide}px;")  # napari's style overrules setMinimumWidth
        self._wrong = QLabel()
        self._wrong.setWordWrap(True)
        as_wide_as_the_list = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        as_wide_as_the_list.setHeightForWidth(True)
        self._wrong.setSizePolicy(as_wide_as_the_list)
        self._wrong.hide()
        self._count = QElidingLabel()
        self._count.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.table = self._make_table()
        self.facts = ListFacts(bench, self.table, self.model)
        self.facts.column_shown.connect(self._fit_name)
        self.plot = DatasetPlot()
        self.plot.chosen.connect(self._go)
        self._latest = Latest()
        self._above_timer = QTimer(self)
        self._above_timer.setSingleShot(True)
        self._above_timer.setInterval(120)
        self._above_timer.timeout.connect(self._count_above)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 10, 4, 4)  # napari's title bar covers the first few pixels
        layout.addWidget(self._progress)
        layout.addWidget(self._states)
        layout.addWidget(self._search)
        layout.addWidget(self._wrong)
        self.news = FileNewsBox(bench)
        self._menu = MicrographMenu(bench, self, self.news)
        layout.addWidget(self.news)
        layout.addWidget(self.table, 1)
        layout.addLayout(self._below())
        layout.addWidget(self.plot)
        self._message = QElidingLabel()
        self._message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout.addWidget(self._message)
        kept = QElidingLabel(f"kept in {name_of(bench.session.store.folder)}")
        kept.setToolTip(_where_it_is_kept(bench.session.store))
        kept.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        layout.addWidget(kept)
        self._states.currentTextChanged.connect(self._on_filter)
        self._search.textChanged.connect(self._on_filter)
        self._search.left.connect(bench.canvas.setFocus)
        self.model.order_changed.connect(self._on_order)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._on_current)
        bench.focus.drawn.threshold_changed.connect(self._on_threshold)
        bench.view_changed.connect(self._on_threshold)  # one pick set, or all
        self._on_order()
        self._show_counts()
        self._fit_numbers()
        self._count_above()

    def _below(self) -> QHBoxLayout:
        """How many there are, and what can be done with the list."""
        more = QToolButton()
        self._bench.icons.put(more, "more")
        more.setToolTip("Add micrographs, say where they are, bring removed ones back")
        more.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(more)
        menu.aboutToShow.connect(lambda: self._fill_menu(menu))
        more.setMenu(menu)
        row = QHBoxLayout()
        row.addWidget(self._count, 1)
        row.addWidget(more)
        return row

    def _fill_menu(self, menu: QMenu) -> None:
        self._menu.fill(menu)
        menu.addSeparator()
        self.facts.fill(menu.addMenu("Columns"))

    def close_panel(self) -> None:
        """Stop following the session."""
        self._latest.close()
        self.facts.close()
        self.news.close_part()
        self._above_timer.stop()
        self._bench.focus.drawn.threshold_changed.disconnect(self._on_threshold)
        self.model.close()
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self._on_current)

    def on_screened(self, outside: frozenset[int]) -> None:
        """Micrographs were measured, or ranges chosen that leave some out."""
        self.model.dim(outside)
        self.facts.later()

    def _make_table(self) -> QTableView:
        table = QTableView()
        table.setModel(self.model)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setMinimumHeight(_LEAST_ROWS)
        table.setTabKeyNavigation(False)  # Tab goes on to what follows
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTextElideMode(Qt.TextElideMode.ElideLeft)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(22)
        head = table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        head.setStretchLastSection(True)
        head.setMinimumSectionSize(22)
        for column, width in ((0, 24), (_NAME, _USUAL_NAME), (2, 42), (3, 42), (4, 42), (5, 46), (6, 160)):
            table.setColumnWidth(column, width)
        table.setItemDelegateForColumn(_NAME, CountsBar(table))
        head.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        table.setSortingEnabled(True)
        table.setColumnHidden(6, not any(m.problem for m in self._session.micrographs))
        table.clicked.connect(self._on_clicked)
        table.verticalScrollBar().valueChanged.connect(lambda _value: self._fit_visible_numbers())
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.customContextMenuRequested.connect(self._on_menu)
        return table

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A narrow list shows the counts as a bar under the name, a wide one also as numbers."""
        super().resizeEvent(event)
        narrow = event.size().width() < _WIDE
        for column in _NUMBERS:
            if self.table.isColumnHidden(column) != narrow:
                self.table.setColumnHidden(column, narrow)
        if narrow:
            self._fit_name()
        elif event.oldSize().width() < _WIDE:
            self.table.setColumnWidth(_NAME, _USUAL_NAME)
            self._fit_numbers()

    def _fit_name(self) -> None:
        """In a narrow list the name has what the state, and whose it is, leave."""
        if self.width() >= _WIDE:
            return
        beside = self.table.columnWidth(0) + (0 if self.table.isColumnHidden(WHOSE) else self.table.columnWidth(WHOSE))
        self.table.setColumnWidth(_NAME, max(_LEAST_NAME, self.table.viewport().width() - beside))

    def chosen(self) -> list[int]:
        """Ids of the micrographs marked in the list."""
        return [self.model.rows[index.row()] for index in self.table.selectionModel().selectedRows()]

    # ------------------------------------------------------------------ slots

    def _on_filter(self, _text: str = "") -> None:
        self.model.set_filter(self._states.currentText(), self._search.text())
        self.facts.refresh()

    def _show_wrong(self) -> None:
        """Why the filter is not understood, of how many too little is known for it, or that it lets none through."""
        error, unknown = self.model.error, self.model.n_unknown
        text = error or (f"too little is known of {count_of(unknown, 'micrograph')}" if unknown else "")
        if not text and not self.model.rowCount() and self._session.micrographs:
            text = "no micrograph passes the filter"
        self._wrong.setText(text[:1].upper() + text[1:])
        self._wrong.setStyleSheet(f"color: {self._bench.ink('error' if error else 'note')};")
        self._wrong.setVisible(bool(text))

    def _on_order(self) -> None:
        self._show_wrong()
        self.facts.refresh()
        self._bench.focus.walking.order = list(self.model.rows)
        n, total = len(self.model.rows), len(self._session.micrographs)
        if not total:
            self._count.setText("no micrographs yet: drop some here")
        elif n == total:
            self._count.setText(count_of(total, "micrograph"))
        else:
            self._count.setText(f"{n:,} of {total:,} shown")
        self._on_current()

    def _on_clicked(self, index: QModelIndex) -> None:
        modifiers_mark_only = len(self.table.selectionModel().selectedRows()) > 1
        if modifiers_mark_only:
            return
        self._go(self.model.rows[index.row()])

    def _go(self, micrograph_id: int) -> None:
        if micrograph_id != self._session.current_id:
            try:
                self._session.go(micrograph_id)
            except AnnotatorError as error:
                self._bench.say(str(error), "error")

    def _on_current(self) -> None:
        row = self.model.row_of(self._session.current_id)
        if row >= 0:
            # not selectRow(): it adds to what is marked while Ctrl is held, as it is in Ctrl+Z
            index, marks = self.model.index(row, 0), self.table.selectionModel()
            marks.setCurrentIndex(index, _ONLY)
            self.table.scrollTo(index)
        self._show_counts()
        self._show_plot()

    def _on_threshold(self) -> None:
        if not self._above_timer.isActive():  # what moves on and on is counted on the way
            self._above_timer.start()

    def _count_above(self) -> None:
        """Ask how many candidates the threshold leaves on every micrograph, in the background."""
        self._fit_numbers()  # here and not with every edit: it looks at every micrograph
        focus, store = self._bench.focus, self._session.store
        which = replace(focus.drawn.of_bulk(), hidden=focus.drawn.hidden())
        if which == Which(decisions=(Decision.UNDECIDED,)):  # all of them
            self._latest.forget()
            self._on_above(None)
        elif self._latest.ask((store.head, which)):
            self._bench.start(
                lambda context: store.count_by_micrograph(which),
                title="count candidates above the threshold",
                on_done=self._latest.only(self._on_above),
                on_failed=self._latest.only(lambda _job: self._latest.forget()),  # asked again with the next step
                quiet=True,
            )

    def _on_above(self, above: dict[int, int] | None) -> None:
        self.model.set_above(above)
        self._fit_numbers()
        self._show_plot()

    def _show_plot(self) -> None:
        self.plot.show_counts(self._session.micrographs, self.model.above, self._session.current_id)
        text = "" if self.plot.isHidden() else self.plot.text()
        self._message.setText(text or " ")  # the line keeps its height
        self._message.setToolTip(self.plot.sentence() if text else "")

    def _on_changed(self, _announcement: Announcement) -> None:
        self._show_counts()
        self._fit_visible_numbers()
        if not self._above_timer.isActive():  # what moves on and on is counted on the way
            self._above_timer.start()
        self.table.setColumnHidden(6, not any(m.problem for m in self._session.micrographs))

    def _fit_visible_numbers(self) -> None:
        """No number on the screen is cut, not even until edits pause and every micrograph is measured."""
        first, last = self.table.rowAt(0), self.table.rowAt(self.table.viewport().height() - 1)
        end = len(self.model.rows) if last < 0 else last + 1
        self._fit_numbers(range(max(first, 0), end))

    def _fit_numbers(self, rows: range | None = None) -> None:
        """Columns of numbers wide enough for the largest; the name, which keeps its end, gives way."""
        table = self.table
        metrics = QFontMetrics(bold(table.font()))
        margin = 2 * (table.style().pixelMetric(QStyle.PixelMetric.PM_FocusFrameHMargin, None, table) + 1) + 8
        for column, largest in self.model.largest(rows).items():
            # no digit is wider than another in the fonts of windows, but in others it may be
            missing = metrics.horizontalAdvance(re.sub(r"\d", "8", largest)) + margin - table.columnWidth(column)
            if missing > 0:
                table.setColumnWidth(column, table.columnWidth(column) + missing)
                table.setColumnWidth(_NAME, max(_LEAST_NAME, table.columnWidth(_NAME) - missing))

    def _show_counts(self) -> None:
        done, total = self._session.n_finished(), len(self._session.micrographs)
        self._progress.setMaximum(max(total, 1))
        self._progress.setValue(done)
        self._progress.setFormat(f"{done:,} of {total:,} complete")

    def _on_menu(self, position: object) -> None:
        menu = QMenu(self)
        self._menu.fill_for(menu, self.chosen())
        if menu.isEmpty():
            return
        menu.exec_(self.table.viewport().mapToGlobal(position))


def _where_it_is_kept(store: Store) -> str:
    if str(store.folder) == store.place:
        return f"Every step is saved in {store.place}"
    return f"Every step is saved in {store.place}; class averages, review queues and the cache are in {store.folder}"
