"""Another project of these micrographs into this one: what would come, and the conflicts, before anything is done."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....jobs.runner import Job
from ....model.context import JobContext
from ....session.core.edits import count_of
from ....session.files import merging
from ....session.files.merging import Conflict, MergeReport
from ...latest import Latest
from ...workbench import Workbench

_COLUMNS = ("Conflict", "Micrograph", "Pick", "Here (stays)", "There")
#: Rows of conflicts that are drawn; all are counted.
_MOST_ROWS = 2000


class MergeDialog(QDialog):
    """What a merge would bring, looked up in the background; the button does it, as one step.

    Parameters
    ----------
    bench : Workbench
    other : Path
        The project to take from; it is only read.
    """

    def __init__(self, bench: Workbench, other: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench, self._other, self._latest = bench, other, Latest()
        self.setWindowTitle(f"Merge {other.name}")
        self.setMinimumSize(640, 320)
        self.report = QLabel(f"comparing with {other} …")
        self.report.setWordWrap(True)
        self.conflicts = QTableWidget(0, len(_COLUMNS))
        self.conflicts.setHorizontalHeaderLabels(list(_COLUMNS))
        self.conflicts.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.conflicts.verticalHeader().setVisible(False)
        self.conflicts.horizontalHeader().setStretchLastSection(True)
        self.conflicts.hide()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.ok.setText("Merge")
        self.ok.setEnabled(False)
        self.buttons.accepted.connect(self._on_merge)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(self.report)
        layout.addWidget(self.conflicts, 1)
        layout.addWidget(self.buttons)
        self.finished.connect(self._forget)
        session = bench.session

        def work(context: JobContext) -> MergeReport:
            return merging.compare(session, other, context=context)

        bench.start(
            work,
            title=f"compare with {other.name}",
            on_done=self._latest.only(self._on_compared),
            on_failed=self._latest.only(self._on_failed),
        )

    def _forget(self, _result: int) -> None:
        self._latest.forget()

    def _on_failed(self, job: Job) -> None:
        self.report.setText(str(job.error))
        self.report.setStyleSheet(f"color: {self._bench.ink('error')};")

    def _on_compared(self, report: MergeReport) -> None:
        n = len(report.conflicts)
        lines = [*_brought(report), *report.notes]
        lines.append(f"{count_of(n, 'conflict')}: this project's side stays" if n else "no conflicts")
        self.report.setText("\n".join(lines))
        self.conflicts.setRowCount(min(n, _MOST_ROWS))
        for row, conflict in enumerate(report.conflicts[:_MOST_ROWS]):
            for column, text in enumerate(_cells(conflict)):
                self.conflicts.setItem(row, column, QTableWidgetItem(text))
        self.conflicts.resizeColumnsToContents()
        self.conflicts.setVisible(n > 0)
        self.ok.setEnabled(True)

    def _on_merge(self) -> None:
        bench, other = self._bench, self._other

        def over(report: MergeReport) -> None:
            brought = "; ".join(_brought(report)) or "nothing that was not here"
            conflicts = f"; {count_of(len(report.conflicts), 'conflict')}, kept as here" if report.conflicts else ""
            bench.say(f"merged {other.name}: {brought}{conflicts} · {{undo}} undoes")

        bench.guarded(lambda: bench.session.when_free(lambda: merging.begin(bench.session, other, over)))
        self.accept()


def _brought(report: MergeReport) -> list[str]:
    """What comes, a clause each."""
    counts = (
        (report.micrographs_matched, "micrograph", "in both"),
        (report.micrographs_added, "micrograph", "added"),
        (report.picks_same, "pick", "in both"),
        (report.picks_added, "pick", "added"),
        (report.picks_changed, "decision or position", "taken"),
        (report.picks_deleted, "pick", "deleted as there"),
        (report.regions_added, "region", "added"),
        (report.states_taken, "state", "taken"),
    )
    return [f"{n:,} {noun if n == 1 else _plural(noun)} {what}" for n, noun, what in counts if n]


def _plural(noun: str) -> str:
    return " or ".join(f"{word}s" for word in noun.split(" or "))


def _cells(conflict: Conflict) -> list[str]:
    what, micrograph, particle, ours, theirs = astuple(conflict)
    return [what, micrograph, str(particle or ""), ours, theirs]
