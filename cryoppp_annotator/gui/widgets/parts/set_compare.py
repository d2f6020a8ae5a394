"""Two sets side by side: counts with their colours, the list by disagreement, rings on the micrograph, set algebra."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....audit.comparing import agreement
from ....audit.completeness import ASSUMPTIONS
from ....model.curation import Table
from ....session.core.session import Announcement
from ....session.review import sets
from ....session.review.sets import Algebra, Compared
from ...latest import Latest
from ...layers.review_layer import BOTH, ONLY_OTHER, ONLY_REFERENCE, ReviewLayer
from ...workbench import Workbench

_COLUMNS = ("micrograph", "both", "1st", "2nd", "F1")
_ALGEBRA = {
    "what both have": Algebra.INTERSECTION,
    "what either has": Algebra.UNION,
    "the first without the second": Algebra.DIFFERENCE,
}


class SetCompare(QWidget):
    """Compares two sets.

    Parameters
    ----------
    bench : Workbench
    rings : ReviewLayer
    """

    def __init__(self, bench: Workbench, rings: ReviewLayer) -> None:
        super().__init__()
        self._bench, self._rings, self._latest = bench, rings, Latest()
        self._compared: Compared | None = None
        self.first, self.second = QComboBox(), QComboBox()
        self.tolerance = QDoubleSpinBox()
        self.tolerance.setRange(0.05, 1.0)
        self.tolerance.setSingleStep(0.05)
        self.tolerance.setValue(0.3)
        self.tolerance.setToolTip("Two picks are one particle where they lie within this part of a diameter")
        self.start = QPushButton("Compare")
        self.counts = QLabel("Choose two sets of picks. Comparing changes nothing.")
        self.counts.setWordWrap(True)
        self.counts.setTextFormat(Qt.TextFormat.RichText)
        self.complete = QLabel()
        self.complete.setWordWrap(True)
        self.complete.setToolTip(ASSUMPTIONS)
        self.table = self._make_table()
        self.how = QComboBox()
        self.how.addItems(list(_ALGEBRA))
        self.make, self.rename, self.delete = (
            QPushButton("Make this set"),
            QPushButton("Rename…"),
            QPushButton("Remove"),
        )
        self.first.setToolTip("The reference: the picks that count as right")
        self.second.setToolTip("The picks that are compared with it")
        self.start.setToolTip("Matches the two sets one to one on every micrograph")
        self.how.setToolTip("How the two sets become a third")
        self.make.setToolTip("Makes a new set of picks; one step that can be undone")
        self.rename.setToolTip("Give the first set another name")
        self.delete.setToolTip("Removes the picks of the first set; one step that can be undone")
        self._arrange()
        self.start.clicked.connect(self._on_start)
        self.tolerance.valueChanged.connect(self._on_tolerance)
        self.table.cellClicked.connect(self._on_row)
        self.make.clicked.connect(self._on_make)
        self.rename.clicked.connect(self._on_rename)
        self.delete.clicked.connect(self._on_delete)
        bench.session.changed.connect(self._on_changed)
        bench.session.current_changed.connect(self.show_rings)
        self._fill()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._latest.close()
        self._bench.session.changed.disconnect(self._on_changed)
        self._bench.session.current_changed.disconnect(self.show_rings)

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(0, len(_COLUMNS))
        table.setHorizontalHeaderLabels(list(_COLUMNS))
        table.verticalHeader().hide()
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        table.setTextElideMode(Qt.TextElideMode.ElideLeft)  # names differ at their end
        table.setToolTip(
            "The most disagreement first: what both have, only the first, only the second. Click: go to the micrograph"
        )
        return table

    def _arrange(self) -> None:
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, (text, box) in enumerate((("First", self.first), ("Second", self.second))):
            grid.addWidget(QLabel(text), row, 0)
            grid.addWidget(box, row, 1)
        grid.addWidget(QLabel("Tolerance"), 2, 0)
        grid.addWidget(self.tolerance, 2, 1)
        algebra, changes = QHBoxLayout(), QHBoxLayout()
        algebra.addWidget(self.how, 1)
        changes.addWidget(self.make)
        for button in (self.rename, self.delete):
            changes.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 4, 2, 2)
        layout.addLayout(grid)
        layout.addWidget(self.start)
        layout.addWidget(self.counts)
        layout.addWidget(self.complete)
        layout.addWidget(self.table, 1)
        layout.addLayout(algebra)
        layout.addLayout(changes)

    def _fill(self) -> None:
        """List the sets there are; what was chosen stays chosen."""
        session = self._bench.session
        names = sets.choices(session)
        chosen_before = (self.first.currentData(), self.second.currentData())
        names |= {n: sets.named(session, n) for n in chosen_before if n is not None and sets.is_moment(n)}
        for box, fallback in ((self.first, 0), (self.second, 1)):
            chosen = box.currentData()
            box.blockSignals(True)
            box.clear()
            for number, name in names.items():
                box.addItem(name, number)
                pick_set = self._bench.session.pick_sets.get(number)
                if pick_set is not None:
                    box.setItemData(box.count() - 1, sets.origin_of(pick_set), Qt.ItemDataRole.ToolTipRole)
            row = box.findData(chosen)
            box.setCurrentIndex(row if row >= 0 else min(fallback, box.count() - 1))
            box.blockSignals(False)

    # ------------------------------------------------------------------ comparing

    def show_pair(self, first: int, second: int) -> None:
        """Compare two sets, or what was accepted at two moments."""
        for box, number in ((self.first, first), (self.second, second)):
            if box.findData(number) < 0:
                box.addItem(sets.named(self._bench.session, number), number)
            box.setCurrentIndex(box.findData(number))
        self._on_start()

    def _on_tolerance(self) -> None:
        if self._compared is not None:
            self._on_start()

    def _on_start(self) -> None:
        first, second, tolerance = self.first.currentData(), self.second.currentData(), self.tolerance.value()
        if first == second:
            self._bench.say("choose two different sets to compare")
            return
        if not self._latest.ask():
            return
        self.start.setEnabled(False)
        session = self._bench.session
        self._bench.start(
            lambda context: sets.compare_in_project(session, first, second, tolerance, context),
            title="compare two sets",
            on_done=self._latest.only(self._on_compared),
            on_failed=self._on_failed,
        )

    def _on_failed(self, job: object) -> None:
        self.start.setEnabled(True)
        self._bench.job_failed(job)  # type: ignore[arg-type]

    def _on_compared(self, compared: Compared) -> None:
        self.start.setEnabled(True)
        self._compared = compared
        total = compared.total
        names = sets.choices(self._bench.session)
        self.counts.setText(
            f"<span style='color:{BOTH}'>●</span> both {total.quality.matched:,} &nbsp;"
            f"<span style='color:{ONLY_REFERENCE}'>●</span> only first {total.only_reference:,} &nbsp;"
            f"<span style='color:{ONLY_OTHER}'>●</span> only second {total.only_other:,}<br>"
            f"precision {total.quality.precision:.3f}, recall {total.quality.recall:.3f}, F1 {total.quality.f1:.3f}"
        )
        estimate = total.completeness
        self.complete.setText("" if estimate is None else f"{estimate.short}. {ASSUMPTIONS}")
        self.complete.setVisible(estimate is not None)
        self.counts.setToolTip(f"First: {names.get(compared.reference)}\nSecond: {names.get(compared.other)}")
        self.table.setRowCount(len(compared.sets))
        for row, (number, two) in enumerate(compared.sets.items()):
            agreement_here = agreement([two])
            texts = (
                two.name,
                agreement_here.quality.matched,
                agreement_here.only_reference,
                agreement_here.only_other,
                f"{agreement_here.quality.f1:.3f}",
            )
            for column, text in enumerate(texts):
                cell = QTableWidgetItem(str(text))
                cell.setData(Qt.ItemDataRole.UserRole, number)
                self.table.setItem(row, column, cell)
        self.show_rings()

    def show_rings(self) -> None:
        """Draw the rings of the micrograph on the screen, while this is in sight."""
        if self._compared is None or not self.isVisible():
            return
        two = self._compared.sets.get(self._bench.session.current_id or 0)
        if two is None:
            self._rings.clear()
        else:
            self._rings.show_sets(two, *self._bench.world())

    def _on_row(self, row: int, _column: int) -> None:
        number = self.table.item(row, 0).data(Qt.ItemDataRole.UserRole)
        self._bench.guarded(lambda: self._bench.session.go(number))

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.touches(Table.PICK_SET):
            self._fill()
        if announcement.touches(Table.PARTICLE) and self._compared is not None:
            self.start.setText("Compare again")

    # ------------------------------------------------------------------ sets

    def _on_make(self) -> None:
        numbers = [self.first.currentData(), self.second.currentData()]
        how, session = _ALGEBRA[self.how.currentText()], self._bench.session
        self._bench.guarded(lambda: sets.make_set(session, numbers, how, self.tolerance.value()))

    def _on_rename(self) -> None:
        number, session = self.first.currentData(), self._bench.session
        name, agreed = QInputDialog.getText(self, "Rename a set", "Name", text=self.first.currentText())
        if agreed and session is self._bench.session:
            self._bench.guarded(lambda: sets.rename_set(session, number, name))

    def _on_delete(self) -> None:
        number, session = self.first.currentData(), self._bench.session
        self._bench.guarded(lambda: sets.delete_set(session, number))
