"""What is taken from a RELION project beside its micrographs: CTF values, picks and 2D classes, by job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ....formats import relion_project
from ....formats.relion_project import Chosen, Job
from ....model.context import JobContext
from ....model.curation import Decision
from ....session.files import importing
from ....session.pictures import optics
from ...workbench import Workbench
from .import_dialog import ImportClasses, enter_all

_NONE = "none"
_ROWS = 6
_JOB = Qt.ItemDataRole.UserRole


def offered(folder: Path) -> list[Job]:
    """Jobs of the RELION project a folder is or lies in, that hold CTF values, picks or classes; none elsewhere."""
    root = relion_project.find_root(folder)
    if root is None:
        return []
    of_use = (relion_project.CTF, relion_project.CLASSES)
    return [job for job in relion_project.jobs(root) if job.has_picks or job.kind in of_use]


class RelionDialog(QDialog):
    """Choose jobs, the latest of each kind to begin with; what they hold is read in the background and entered.

    Parameters
    ----------
    bench : Workbench
    jobs : sequence of Job
        As :func:`offered` gives them.
    import_classes : callable
        Gets the file of a job of 2D classes, when the picks are there.
    """

    def __init__(
        self, bench: Workbench, jobs: Sequence[Job], import_classes: ImportClasses, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._bench, self._import_classes = bench, import_classes
        latest = relion_project.latest(jobs)
        self.setWindowTitle("Take from RELION")
        self.setMinimumWidth(480)
        intro = QLabel(
            f"{jobs[0].folder.parent.parent} is a RELION project. Its micrographs are known already; choose what else "
            "is taken from it. Each is a step of its own that can be undone."
        )
        intro.setWordWrap(True)
        self.ctf = _choice([job for job in jobs if job.kind == relion_project.CTF], latest.ctf)
        self.ctf.setToolTip("Defocus, voltage and fit resolution of each micrograph")
        self.picks = QListWidget()
        self.picks.setToolTip("Each job is a pick set of its own")
        for job in (job for job in jobs if job.has_picks):
            item = QListWidgetItem(_title(job), self.picks)
            item.setData(_JOB, job)
            item.setCheckState(Qt.CheckState.Checked if job in latest.picks else Qt.CheckState.Unchecked)
        self.picks.setMaximumHeight(self.fontMetrics().height() * (_ROWS + 2))
        self.classes = _choice([job for job in jobs if job.kind == relion_project.CLASSES], latest.classes)
        self.classes.setToolTip("Each particle is taken for the pick it lies on; shown in the Classes tab")
        form = QFormLayout()
        form.addRow("CTF values", self.ctf)
        form.addRow("Picks", self.picks)
        form.addRow("2D classes", self.classes)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.buttons.accepted.connect(self._on_take)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(intro)
        layout.addLayout(form)
        layout.addWidget(self.buttons)
        for choice in (self.ctf, self.classes):
            choice.currentIndexChanged.connect(self._show)
        self.picks.itemChanged.connect(self._show)
        self._show()

    def chosen(self) -> Chosen:
        """The jobs that are chosen."""
        items = [self.picks.item(row) for row in range(self.picks.count())]
        picks = tuple(item.data(_JOB) for item in items if item.checkState() == Qt.CheckState.Checked)
        return Chosen(self.ctf.currentData(), picks, self.classes.currentData())

    def _show(self, *_: object) -> None:
        names = self.chosen().names
        self.ok.setEnabled(bool(names))
        self.ok.setText(f"Take {', '.join(names)}" if 0 < len(names) <= 3 else f"Take {len(names)} jobs")

    def _on_take(self) -> None:
        take(self._bench, self.chosen(), self._import_classes)
        self.accept()


def take(bench: Workbench, chosen: Chosen, import_classes: ImportClasses) -> None:
    """Read what jobs hold in the background, and enter it: CTF values, then picks, then classes.

    Parameters
    ----------
    bench : Workbench
    chosen : Chosen
    import_classes : callable
        Gets the file of the classes' job, when the picks are there.
    """
    session = bench.session
    waiting = len(chosen.picks)

    def work(context: JobContext) -> tuple[optics.OpticsPlan | None, list[importing.ImportPlan]]:
        ctf = None if chosen.ctf is None else optics.read_optics(session, chosen.ctf.file)
        return ctf, [plan for job in chosen.picks for plan in importing.read_many(session, [job.file], context=context)]

    def classes() -> None:
        if chosen.classes is not None:
            import_classes([chosen.classes.file], None, False)

    def entered(_plan: importing.ImportPlan) -> None:
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            classes()

    def done(read: tuple[optics.OpticsPlan | None, list[importing.ImportPlan]]) -> None:
        ctf, plans = read
        if ctf is not None:
            bench.guarded(lambda: bench.say(optics.enter(session, ctf)))
        if plans:
            enter_all(bench, plans, Decision.UNDECIDED, entered)
        else:
            classes()

    bench.start(work, title=f"read {', '.join(chosen.names)}", on_done=done)


def _choice(jobs: Sequence[Job], preset: Job | None) -> QComboBox:
    """A box of jobs of one kind, and none of them."""
    box = QComboBox()
    for job in jobs:
        box.addItem(_title(job), job)
    box.addItem(_NONE, None)
    box.setCurrentIndex(max(0, box.findText("" if preset is None else _title(preset))))
    return box


def _title(job: Job) -> str:
    return f"{job.name} ({job.file.name})"
