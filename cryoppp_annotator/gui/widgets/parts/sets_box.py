"""The pick sets of a project: shown or hidden, coloured, renamed, deleted, each with a threshold and its origin."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QDoubleSpinBox,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
)

from ....model.curation import Table
from ....model.pick_set import PickSet
from ....model.species import next_colour
from ....model.which import Which
from ....session.core.session import Announcement
from ....session.review import sets
from ...layers.styles import ColourBy
from ...workbench import Workbench
from .species_box import icon_of

_NAME, _HERE, _THRESHOLD = range(3)
#: Rows that are seen at once.
_ROWS = 4


class _ThresholdField(QDoubleSpinBox):
    """The threshold of a set; at its lowest all are drawn.

    A field of a table may outlive it: its signal goes to a method, as a closure would keep the window alive.
    """

    chosen = Signal(int, object)  # number of the set; the threshold, None = none

    def __init__(self, number: int, low: float, high: float, value: float | None) -> None:
        super().__init__()
        self._number = number
        step = (high - low) / 100 or 0.01
        self._all_below = low - step / 2
        self.setDecimals(int(np.clip(2 - np.floor(np.log10(max(high - low, 1e-9))), 0, 6)))
        self.setRange(low - step, high)
        self.setSingleStep(step)
        self.setSpecialValueText("all")
        self.setKeyboardTracking(False)
        self.setToolTip("Undecided picks of this set with a lower score are not drawn, exported or classified")
        self.setValue(low - step if value is None else value)
        self.valueChanged.connect(self._on_value)

    def _on_value(self, value: float) -> None:
        self.chosen.emit(self._number, None if value < self._all_below else value)


class SetsBox(QGroupBox):
    """The *Pick sets* box of the *Pick* tab; there is none where there is one set.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__("Pick sets")
        self._bench, self._session = bench, bench.session
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(["set", "here", "score from"])
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setToolTip("Tick: drawn, and meant by bulk decisions. Double click: rename")
        head = self.table.horizontalHeader()
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        self.colour, self.delete = QPushButton("Colour…"), QPushButton("Remove picks")
        self.colour.setToolTip("Of the rings of the chosen set, with Rings by: pick set. One step, one undo")
        self.delete.setToolTip("Removes all picks of the chosen set, on every micrograph. One step, one undo")
        buttons = QHBoxLayout()
        buttons.addWidget(self.colour)
        buttons.addWidget(self.delete)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)
        layout.addLayout(buttons)
        self.table.itemChanged.connect(self._on_item)
        self.table.itemSelectionChanged.connect(self._show_buttons)
        self.colour.clicked.connect(self._ask_colour)
        self.delete.clicked.connect(self._on_delete)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self._show_counts)
        #: Whether the table is behind the project: it is read where it is seen.
        self._behind = False
        self.refresh()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._session.changed.disconnect(self._on_changed)
        self._session.current_changed.disconnect(self._show_counts)

    def chosen(self) -> int | None:
        """The set whose row is chosen."""
        row = self.table.currentRow()
        return None if row < 0 or not self.table.selectedItems() else self._number(row)

    def row_of(self, number: int) -> int:
        """The row of a set; -1 where it has none."""
        return next((row for row in range(self.table.rowCount()) if self._number(row) == number), -1)

    def spin_of(self, number: int) -> QDoubleSpinBox | None:
        """The field with a set's threshold; None where its picks have no scores."""
        widget = self.table.cellWidget(self.row_of(number), _THRESHOLD)
        return widget if isinstance(widget, QDoubleSpinBox) else None

    def _number(self, row: int) -> int:
        return int(self.table.item(row, _NAME).data(Qt.ItemDataRole.UserRole))

    # ------------------------------------------------------------------ what is shown

    def showEvent(self, event: object) -> None:
        """Read what was not followed while the box was folded."""
        if self._behind:
            self.refresh()
        super().showEvent(event)

    def refresh(self) -> None:
        """List the sets there are."""
        self._behind = False
        every = self._session.pick_sets
        self.setVisible(len(every) > 1)
        with QSignalBlocker(self.table):
            self.table.setRowCount(len(every))
            for row, one in enumerate(every.values()):
                self._fill(row, one, one.colour or next_colour(row))
        height = self.table.verticalHeader().defaultSectionSize() * min(_ROWS, max(1, len(every)))
        around = self.table.horizontalHeader().sizeHint().height() + 2 * self.table.frameWidth() + 6
        self.table.setFixedHeight(height + around)
        self._show_counts()
        self._show_buttons()

    def _fill(self, row: int, one: PickSet, colour: str) -> None:
        name = QTableWidgetItem(icon_of(colour), one.name)
        name.setData(Qt.ItemDataRole.UserRole, one.id)
        name.setToolTip(f"{one.name}\n{sets.origin_of(one)}")
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable
        if not (one.by_hand and one.curator == self._session.curator):  # one's own picks are never out of sight
            hidden = one.id in self._bench.focus.drawn.hidden_sets
            flags |= Qt.ItemFlag.ItemIsUserCheckable
            name.setCheckState(Qt.CheckState.Unchecked if hidden else Qt.CheckState.Checked)
        name.setFlags(flags)
        here = QTableWidgetItem()
        here.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        here.setTextAlignment(int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter))
        self.table.setItem(row, _NAME, name)
        self.table.setItem(row, _HERE, here)
        self._fill_threshold(row, one.id)

    def _fill_threshold(self, row: int, number: int) -> None:
        scores = self._session.store.sample_scores(Which(pick_sets=(number,)), 2000)
        if not len(scores):
            self.table.removeCellWidget(row, _THRESHOLD)
            return
        now = self._bench.focus.drawn.set_thresholds.get(number)
        spin = _ThresholdField(number, float(scores.min()), float(scores.max()), now)
        spin.chosen.connect(self._on_threshold)
        spin.editingFinished.connect(self._bench.canvas.setFocus)
        self.table.setCellWidget(row, _THRESHOLD, spin)

    def _show_counts(self) -> None:
        here = self._session.particles.pick_set
        with QSignalBlocker(self.table):
            for row in range(self.table.rowCount()):
                self.table.item(row, _HERE).setText(f"{int((here == self._number(row)).sum()):,}")

    def _show_buttons(self) -> None:
        for button in (self.colour, self.delete):
            button.setEnabled(self.chosen() is not None)

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.touches(Table.PICK_SET):
            self._behind = True
            self.setVisible(len(self._session.pick_sets) > 1)
            if self.isVisible():  # the scores of every set are read for its field
                self.refresh()
        elif announcement.touches(Table.PARTICLE):
            self._show_counts()

    # ------------------------------------------------------------------ what a person does

    def _on_item(self, item: QTableWidgetItem) -> None:
        """A tick, or a name that was typed."""
        if item.column() != _NAME:
            return
        number = int(item.data(Qt.ItemDataRole.UserRole))
        focus, name = self._bench.focus, item.text()
        if item.flags() & Qt.ItemFlag.ItemIsUserCheckable:
            hidden = item.checkState() == Qt.CheckState.Unchecked
            if hidden != (number in focus.drawn.hidden_sets):
                focus.drawn.hide_set(number, hidden)
                return
        if name != self._session.pick_sets[number].name:
            if not self._bench.guarded(lambda: sets.rename_set(self._session, number, name)):
                self.refresh()
            self._bench.canvas.setFocus()

    def _on_threshold(self, number: int, value: float | None) -> None:
        self._bench.focus.drawn.set_threshold_of(number, value)
        self._bench.particles_layer.redraw()

    def _ask_colour(self) -> None:
        number = self.chosen()
        if number is None:
            return
        row = self.row_of(number)
        now = self._session.pick_sets[number].colour or next_colour(row)
        chosen = QColorDialog.getColor(QColor(now), self, "Colour of the rings")
        if chosen.isValid():
            self.set_colour(number, chosen.name().upper())

    def set_colour(self, number: int, colour: str) -> None:
        """Give a set a colour, and draw the rings by pick set."""
        if self._bench.guarded(lambda: sets.colour_set(self._session, number, colour)):
            self._bench.set_colour_by(ColourBy.SET)

    def _on_delete(self) -> None:
        number = self.chosen()
        if number is not None:
            self._bench.guarded(lambda: sets.delete_set(self._session, number))
