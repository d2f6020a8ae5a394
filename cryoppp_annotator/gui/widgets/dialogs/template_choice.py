"""Which templates a picker looks for: those kept in the project, new ones from the accepted picks, a stack or a map."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ....jobs.runner import Job
from ....session.classes import template_making
from ....session.classes.template_making import Made
from ....session.classes.templates import TemplateSet, list_templates, set_corrected
from ...workbench import Workbench
from .size_question import SizeQuestion

_FROM_PICKS = (
    "Aligned averages of the accepted picks of all micrographs, at most five, in the background.\n"
    "They are kept in the project and chosen here"
)
_BUSY = "templates are being made; the line at the bottom shows how far"


class TemplateChoice(QWidget):
    """The template picker's own part of the *Candidates* box.

    Parameters
    ----------
    bench : Workbench
    question : SizeQuestion
        Asks for the diameter where it is not set.
    """

    changed = Signal()

    def __init__(self, bench: Workbench, question: SizeQuestion) -> None:
        super().__init__()
        self._bench, self._session, self._question = bench, bench.session, question
        self._sets: dict[str, TemplateSet] = {}
        self._job: Job | None = None
        self.list = QComboBox()
        self.list.setToolTip("Templates kept in this project, the newest first")
        self.from_picks = QPushButton("Use accepted picks as templates")
        self.from_file = QPushButton("File …")
        self.corrected = QCheckBox("CTF-corrected")
        self.message = QLabel()
        self.message.setWordWrap(True)
        row = QHBoxLayout()
        row.addWidget(self.from_picks, 1)
        row.addWidget(self.from_file)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.list)
        layout.addWidget(self.message)
        layout.addWidget(self.corrected)
        layout.addLayout(row)
        self.list.activated.connect(lambda _row: self._on_chosen())
        self.from_picks.clicked.connect(self._on_from_picks)
        self.from_file.clicked.connect(self._on_from_file)
        self.corrected.clicked.connect(self._on_corrected)
        bench.bridge.ticked.connect(self._on_tick)
        self.read()

    def close_panel(self) -> None:
        """Stop following the jobs."""
        self._bench.bridge.ticked.disconnect(self._on_tick)

    def showEvent(self, event: object) -> None:
        """Averages may have been kept in the Classes tab meanwhile."""
        super().showEvent(event)
        self.read()

    @property
    def chosen(self) -> TemplateSet | None:
        """The set the picker is to look for."""
        return self._sets.get(self.list.currentData())

    def parameters(self) -> dict[str, Any]:
        """What the picker is handed; empty where nothing is chosen."""
        return {} if self.chosen is None else self.chosen.parameters()

    # ------------------------------------------------------------------ what there is

    def read(self, choose: str = "") -> None:
        """List the sets of the project; ``choose`` one."""
        name = choose or self.list.currentData()
        sets = list_templates(self._session)
        self._sets = {templates.name: templates for templates in sets}
        with QSignalBlocker(self.list):
            self.list.clear()
            for templates in sets:
                self.list.addItem(templates.name, templates.name)
            self.list.setCurrentIndex(max(0, self.list.findData(name)) if sets else -1)
        self.refresh()
        self.changed.emit()

    def refresh(self) -> None:
        """Say what can be done now."""
        templates = self.chosen
        self.list.setVisible(templates is not None)
        self.message.setText("" if templates is None else f"{templates.summary} · {_origin(templates)}")
        self.message.setVisible(templates is not None)
        self._show_corrected(templates)
        busy = _BUSY if self._job is not None else ""
        why = busy or template_making.why_not(self._session)
        self.from_picks.setEnabled(not why)
        self.from_picks.setToolTip(why or _FROM_PICKS)
        why = busy or ("the project was opened read-only" if self._session.store.read_only else "")
        self.from_file.setEnabled(not why)
        self.from_file.setToolTip(why or "An .mrcs of averages, or a map whose projections are made")

    def _show_corrected(self, templates: TemplateSet | None) -> None:
        """Only of images of another program a person knows what nothing in them says."""
        self.corrected.setVisible(templates is not None and templates.source.endswith(".mrcs"))
        if templates is not None:
            self.corrected.setChecked(templates.ctf_corrected)
        self.corrected.setToolTip(
            "Whether these images are free of the CTF (as averages of RELION and cryoSPARC usually are).\n"
            "Those are multiplied by each micrograph's CTF where its defocus is known; others must not be, twice"
        )

    # ------------------------------------------------------------------ what a person does

    def _on_chosen(self) -> None:
        self.refresh()
        self.changed.emit()

    def _on_corrected(self, corrected: bool) -> None:
        templates = self.chosen
        if templates is not None:
            self._bench.guarded(lambda: set_corrected(self._session, templates.name, corrected))
            self.read()

    def _on_from_picks(self) -> None:
        if self._question.needed_for("Averaging picks", self._on_from_picks):
            return
        self._make(
            "average the accepted picks",
            partial(template_making.from_picks, self._session, invert=not self._session.settings.bright),
        )

    def _on_from_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Templates or a map", str(self._session.data_root), "MRC (*.mrcs *.mrc *.map)"
        )
        if path:
            self.use_file(Path(path))

    def use_file(self, path: Path) -> None:
        """Keep the images of a file, or the projections of a map, and choose them."""
        pixel: list[float | None] = []
        if not self._bench.guarded(lambda: pixel.append(template_making.pixel_size_of(path))):
            return
        if pixel[0] is None:
            size, given = QInputDialog.getDouble(
                self, "Pixel size", f"{path.name} does not say its pixel size, Å:", 1.0, 0.01, 100.0, 4
            )
            if not given:
                return
            pixel[0] = size
        work = partial(template_making.from_file, self._session, path, pixel_size_A=pixel[0])
        self._make(f"templates of {path.name}", work)

    def _make(self, title: str, work: partial[Made]) -> None:
        self._job = self._bench.start(work, title=title, on_done=self._on_made)
        self.refresh()

    def _on_made(self, made: Made) -> None:
        self._bench.say(made.summary)
        self.read(made.templates.name)

    def _on_tick(self) -> None:
        """However the job ends, also when it is cancelled, another can be started."""
        if self._job is not None and self._job.over:
            self._job = None
            self.refresh()


def _origin(templates: TemplateSet) -> str:
    """Where a set comes from, without folders."""
    return Path(templates.source).name if "/" in templates.source else templates.source
