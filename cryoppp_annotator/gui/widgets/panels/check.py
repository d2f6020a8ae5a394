"""Lint: what is suspicious, a way there, and a remedy in one step."""

from __future__ import annotations

from typing import ClassVar

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....formats.check.lint import Severity
from ....jobs.runner import Job, JobState
from ....session.core.edits import count_of
from ....session.core.session import Announcement
from ....session.core.step import Done, Result
from ....session.files import linting
from ....session.files.linting import ProjectFinding
from ...workbench import Workbench

_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}


class CheckPanel(QWidget):
    """The *Check* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Check"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._findings: list[ProjectFinding] = []
        self._head = -1
        self._job: Job | None = None
        self.check = QPushButton("Check all picks")
        self.check.setToolTip(
            "Duplicates, picks beside their particle, off the edge or on carbon, doubtful sizes, unusual counts"
        )
        self._images = QCheckBox("Check against the images too")
        self._images.setChecked(True)
        self._images.setToolTip("Finds padding borders and picks beside their particle; reads every micrograph once")
        self._said = QLabel("Accepted and undecided picks are checked. The check changes nothing.")
        self._said.setWordWrap(True)
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(["micrograph", "finding"])
        self.table.verticalHeader().hide()
        self.table.setWordWrap(True)
        self.table.setTextElideMode(Qt.TextElideMode.ElideLeft)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.table.setColumnWidth(0, 110)
        self.table.setToolTip("Click: go to the micrograph and select the picks")
        self.mend = QPushButton("Reject flagged picks")
        self.recentre = QPushButton("Recentre")
        self.recentre.clicked.connect(self._on_recentre)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        for widget in (self.check, self._images, self._said):
            layout.addWidget(widget)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.mend)
        layout.addWidget(self.recentre)
        self.check.clicked.connect(self.start)
        self.mend.clicked.connect(self._on_mend)
        self.table.cellClicked.connect(self._on_clicked)
        self.table.itemSelectionChanged.connect(self._show_mend)
        bench.session.changed.connect(self._on_changed)
        bench.bridge.ticked.connect(self._on_tick)
        self._show_mend()

    def close_panel(self) -> None:
        """Stop following the session."""
        self._bench.session.changed.disconnect(self._on_changed)
        self._bench.bridge.ticked.disconnect(self._on_tick)

    def start(self) -> None:
        """Look, in the background."""
        self.check.setEnabled(False)
        self._said.setText("checking …")
        session, with_images = self._bench.session, self._images.isChecked()
        head = session.store.head
        self._job = self._bench.start(
            lambda context: linting.lint(session, read_images=with_images, context=context),
            title="check picks",
            on_done=lambda findings: self._on_findings(head, findings, with_images),
            on_failed=self._on_failed,
        )

    def _on_failed(self, job: Job) -> None:
        self.check.setEnabled(True)
        self._said.setText(f"the check failed: {job.error}")
        self._bench.job_failed(job)

    def _on_tick(self) -> None:
        """It can be started again when it was cancelled."""
        if self._job is not None and self._job.state is JobState.CANCELLED:
            self._job = None
            self.check.setEnabled(True)
            self._said.setText("the check was cancelled; nothing was changed")

    def _on_findings(self, head: int, findings: list[ProjectFinding], with_images: bool) -> None:
        self._head = head
        if with_images:
            self._bench.checked = (head, findings)  # the export dialog says the same
        self.check.setEnabled(True)
        order = list(Severity)
        self._findings = sorted(findings, key=lambda item: order.index(item.finding.severity))
        self._said.setText(count_of(len(findings), "finding") if findings else "Nothing suspicious was found.")
        self._tell_age()  # steps may have been made while it looked
        self.table.setRowCount(len(self._findings))
        for row, item in enumerate(self._findings):
            name = QTableWidgetItem(item.finding.micrograph or "(all)")
            text = QTableWidgetItem(item.finding.message)
            for cell in (name, text):
                cell.setToolTip(f"{item.finding.severity.value}: {text.text()}")
                cell.setFlags(cell.flags() & ~Qt.ItemFlag.ItemIsEditable)
            name.setForeground(QColor(self._bench.ink(_LEVEL[item.finding.severity])))
            self.table.setItem(row, 0, name)
            self.table.setItem(row, 1, text)
        self.table.resizeRowsToContents()
        self._show_mend()

    def _on_clicked(self, row: int, _column: int) -> None:
        item = self._findings[row]
        where = item.micrograph
        if where is None:
            return
        session = self._bench.session
        if session.current_id != where and not self._bench.guarded(lambda: session.go(where)):
            return
        if item.ids:
            self._bench.focus.select(item.ids)

    def _chosen(self) -> list[ProjectFinding]:
        rows = {index.row() for index in self.table.selectionModel().selectedRows()}
        return [self._findings[row] for row in sorted(rows)] or self._findings

    def _mendable(self) -> list[ProjectFinding]:
        chosen = self._chosen()
        return [item for item in chosen if item.finding.mend in linting.REASONS]

    def _show_mend(self) -> None:
        mendable = self._mendable()
        n = len({i for item in mendable for i in item.ids})
        self.mend.setEnabled(n > 0)
        self.mend.setText(f"Reject {count_of(n, 'flagged pick')}" if n else "Reject flagged picks")
        self.mend.setToolTip(
            self._bench.keyed(
                "Rejects duplicates as overlap, cut ones as edge, undecided ones in a region for its reason; one step, "
                "{undo} undoes"
            )
            if n
            else "none of these findings has a safe remedy"
        )

        n = linting.n_off_centre(self._chosen())
        old = self._bench.session.store.head != self._head
        self.recentre.setText(f"Recentre {n:,}" if n else "Recentre")
        self.recentre.setEnabled(n > 0 and not old)
        tip = "Moves off-centre picks onto the particles that were seen beside them; one step, {undo} undoes"
        why = "out of date: check again" if n else "none of these picks is off-centre, as far as was looked"
        self.recentre.setToolTip(self._bench.keyed(tip) if n and not old else why)

    def _on_recentre(self) -> None:
        findings = self._chosen()
        self._bench.guarded(lambda: linting.recentre(self._bench.session, findings, self._on_mended))

    def _on_mend(self) -> None:
        findings = self._mendable()
        self._bench.guarded(lambda: linting.mend(self._bench.session, findings, self._on_mended))

    def _on_mended(self, result: Result) -> None:
        if isinstance(result, Done):
            self.start()

    def _on_changed(self, _announcement: Announcement) -> None:
        self._tell_age()
        self._show_mend()

    def _tell_age(self) -> None:
        if self._findings and self._bench.session.store.head != self._head:
            self._said.setText(f"{count_of(len(self._findings), 'finding')} · out of date: check again")
