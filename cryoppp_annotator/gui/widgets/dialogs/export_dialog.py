"""Exporting picks: format, which picks, where to, and what lint says of them first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from .... import extensions
from ....formats.atomic import WouldOverwrite
from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.curation import Decision
from ....model.which import Which
from ....session.core import own_paths
from ....session.core.edits import count_of
from ....session.core.step import Done, Result
from ....session.files import exportable, exporting, linting
from ....session.files.as_imported import outside_of, write_back
from ....session.files.linting import ProjectFinding
from ...latest import Latest
from ...workbench import Workbench
from ..parts.compact import grow
from ..parts.species_choice import species_to_export
from .import_dialog import FRAMES
from .outside import ask_outside

#: Stands among the formats for each imported pick set.
_AS_IMPORTED = "as-imported"


class ExportDialog(QDialog):
    """Choose format, decisions and folder; the files are written in the background.

    Parameters
    ----------
    bench : Workbench
    """

    #: Offered first: what was chosen last.
    last_format = "cryoppp"

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench = bench
        self._findings: list[ProjectFinding] = []
        self._latest = Latest()
        self.setWindowTitle("Export picks")
        self.setMinimumWidth(600)
        self.format = QComboBox()
        for name, file_format in extensions.formats().items():
            if file_format.can_write:
                self.format.addItem(file_format.title, name)
        for number, pick_set in bench.session.pick_sets.items():
            if pick_set.imported:
                self.format.addItem(f"as imported: {pick_set.name}, only edited rows change", (_AS_IMPORTED, number))
        self.format.setCurrentIndex(max(0, self.format.findData(ExportDialog.last_format)))
        self.format.setToolTip("The program that will read the files")
        self.decisions = QComboBox()
        self.decisions.addItems(list(exporting.DECISIONS))
        self.species = species_to_export(bench.session)
        self.frame = QComboBox()
        for text, orientation in FRAMES.items():
            self.frame.addItem(text.split(",")[0], orientation)
        self.suffix = QLineEdit()
        self.suffix.setPlaceholderText("the format's own (_manualpick for RELION)")
        self.box_size = QDoubleSpinBox()
        self.box_size.setRange(0, 10_000)
        self.box_size.setDecimals(0)
        self.box_size.setSuffix(" px")
        self.box_size.setSpecialValueText("from the diameter")
        self.folder = QLineEdit(str(bench.session.store.folder / "export"))
        browse = QPushButton("…")
        browse.setToolTip("Choose the folder to write into")
        browse.clicked.connect(self._on_browse)
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(browse)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.lint = QLabel("looking for duplicates and picks on the edge …")
        self.lint.setWordWrap(True)
        self.mend = QPushButton("Reject flagged picks")
        self.mend.setToolTip(bench.keyed("Rejects duplicates as overlap and cut ones as edge; one step, {undo} undoes"))
        self.mend.clicked.connect(self._on_mend)
        self.mend.hide()
        check = QHBoxLayout()
        check.addWidget(self.lint, 1)
        check.addWidget(self.mend)
        form = QFormLayout()
        form.addRow("Format", self.format)
        form.addRow("Picks", self.decisions)
        if bench.session.species:
            form.addRow("Species", self.species)
        form.addRow("Into", row)
        form.addRow("File suffix", self.suffix)
        form.addRow("Box size", self.box_size)
        form.addRow("Frame", self.frame)
        form.addRow(self.note)
        form.addRow(check)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Export")
        self.buttons.accepted.connect(self._on_export)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.buttons)
        self.finished.connect(self._forget)
        self.decisions.currentTextChanged.connect(self._on_choice)
        self.format.currentIndexChanged.connect(self._on_choice)
        self.species.currentIndexChanged.connect(self._on_choice)
        self.box_size.valueChanged.connect(self._on_choice)
        self._on_choice()

    def _as_imported(self) -> int | None:
        chosen = self.format.currentData()
        return chosen[1] if isinstance(chosen, tuple) else None

    def _on_choice(self, *_: object) -> None:
        edits_files = self._as_imported() is not None
        for widget, tip in (
            (self.species, "Which species are exported, and whether each has a folder of its own"),
            (self.decisions, "Which picks are exported, by their decision"),
            (self.frame, "Where the files count rows from; the format's own unless a program wants another"),
            (self.suffix, "Stands between the micrograph's name and the ending"),
            (self.box_size, "Side of the boxes, for formats that have them"),
        ):
            widget.setEnabled(not edits_files)
            widget.setToolTip("the imported files say this themselves" if edits_files else tip)
        self._show_note()
        self._check()

    def _show_note(self) -> None:
        counts = self._bench.session.counts()
        rest = ", ".join(f"{number:,} {word}" for word, number in counts.items())
        if self._as_imported() is not None:
            n = counts["accepted"] + counts["undecided"]
            self.note.setText("Rejected picks leave the file, moved ones get new numbers, your own follow.")
        else:
            decisions = exporting.DECISIONS[self.decisions.currentText()]
            session, hidden = self._bench.session, self._bench.focus.drawn.hidden()
            kind = self.species.currentData()
            will_be = exportable.count(session, decisions, hidden, kind if isinstance(kind, tuple) else None)
            n = will_be.n_picks
            hint = "" if n else " Nothing would be written: decide first, or choose other picks."
            lines = list(will_be.notes)
            if will_be.n_hidden:
                lines.append(f"{count_of(will_be.n_hidden, 'candidate')} below the score threshold left out")
            if unseen := self._in_hidden_sets(decisions, kind):
                lines.append(f"{count_of(unseen, 'pick')} of hidden pick sets among them")
            rest_of_it = f" {'; '.join(lines)}." if lines else ""
            self.note.setText(f"{n:,} picks of this project ({rest}).{hint}{rest_of_it}")
        export = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        grow(self)
        export.setEnabled(n > 0)
        export.setToolTip("Every file is written whole or not at all" if n else "there is nothing to write")

    def _in_hidden_sets(self, decisions: Iterable[Decision], species: object) -> int:
        """Picks that are written although their set is not drawn, those below a threshold not among them."""
        focus, session = self._bench.focus.drawn, self._bench.session
        sets = tuple(i for i in focus.hidden_sets if i in session.pick_sets)
        if not sets:
            return 0
        kinds = species if isinstance(species, tuple) else None
        which = Which(decisions=tuple(decisions), species=kinds, pick_sets=sets, hidden=focus.hidden())
        return session.store.count(which)

    def _check(self) -> None:
        session, bench = self._bench.session, self._bench
        decisions = exporting.DECISIONS[self.decisions.currentText()]
        box = self.box_size.value() or None
        self.mend.hide()
        self._latest.ask()
        bench.start(
            # without the images: the line must be there before the button is pressed
            lambda context: linting.lint(
                session, decisions=decisions, read_images=False, box_size_px=box, context=context
            ),
            title="check picks",
            quiet=True,
            on_done=self._latest.only(self._on_findings),
            on_failed=self._latest.only(self._on_check_failed),
        )

    def _forget(self, _result: int) -> None:
        """The dialog is closing: what is still being looked for is not wanted any more."""
        self._latest.forget()

    def _on_findings(self, findings: list[ProjectFinding]) -> None:
        session = self._bench.session
        head, checked = self._bench.checked
        looked = head == session.store.head and not self.box_size.value()
        if looked:  # the Check tab has looked at the images, too: one truth
            findings = linting.of_decisions(session, checked, exporting.DECISIONS[self.decisions.currentText()])
        self._findings = findings
        more = "" if looked else " The images were not looked at: the Check tab does."
        self.lint.setText(f"{linting.one_line(findings).rstrip('.')}.{more}")
        n = linting.n_mendable(findings)
        self.mend.setVisible(n > 0)
        self.mend.setText(f"Reject {count_of(n, 'flagged pick')}")
        grow(self)

    def _on_check_failed(self, job: Job) -> None:
        self.lint.setText(f"the check failed: {job.error}")
        grow(self)

    def _on_mend(self) -> None:
        over = self._latest.only(self._on_mended)
        self._bench.guarded(lambda: linting.mend(self._bench.session, self._findings, over))

    def _on_mended(self, result: Result) -> None:
        if isinstance(result, Done):
            self._on_choice()

    def _on_browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Export into", self.folder.text())
        if chosen:
            self.folder.setText(chosen)

    def _allow(self, folders: tuple[Path, ...]) -> None:
        own_paths.allow(self._bench.session, folders)
        self._on_export()

    def _on_export(self) -> None:
        bench, session = self._bench, self._bench.session
        out = Path(self.folder.text()).expanduser()
        chosen, number = self.format.currentData(), self._as_imported()
        decisions = exporting.DECISIONS[self.decisions.currentText()]
        orientation, suffix = self.frame.currentData(), self.suffix.text().strip() or None
        box = self.box_size.value() or None
        hidden = bench.focus.drawn.hidden()  # what is not drawn is not exported
        kind = self.species.currentData()
        each = kind == exporting.EACH_SPECIES
        write = partial(exporting.export_each_species) if each else partial(exporting.export, species=kind)
        if number is None:
            ExportDialog.last_format = chosen
        elif folders := outside_of(session, number):
            ask_outside(self, folders, "imported files", lambda yes: self._allow(folders) if yes else None)
            return

        def work(context: JobContext, *, overwrite: bool = False) -> exporting.ExportReport:
            if number is not None:
                return write_back(session, number, out, overwrite=overwrite, context=context)
            return write(
                session,
                out,
                chosen,
                decisions=decisions,
                orientation=orientation,
                suffix=suffix,
                box_size_px=box,
                hidden=hidden,
                overwrite=overwrite,
                context=context,
            )

        def done(report: exporting.ExportReport) -> None:
            notes = f" · {'; '.join(report.notes)}" if report.notes else ""
            where = count_of(report.n_micrographs, "micrograph")
            bench.say(f"exported {count_of(report.n_picks)} on {where} to {out}{notes}")
            bench.exported.emit()

        def failed(job: Job) -> None:
            if isinstance(job.error, WouldOverwrite):
                again = partial(bench.start, partial(work, overwrite=True), title=job.title, on_done=done)
                _ask_to_replace(bench, job.error, again)
            else:
                bench.job_failed(job)

        bench.start(work, title=f"export to {out.name}", on_done=done, on_failed=failed)
        self.accept()


def _ask_to_replace(bench: Workbench, error: WouldOverwrite, again: Callable[[], object]) -> None:
    """Files of somebody else are there: only a person knows whether they may go."""
    names = ", ".join(file.name for file in error.files[:5]) + (" …" if len(error.files) > 5 else "")
    box = QMessageBox(bench.window)
    box.setWindowTitle("Replace files?")
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(
        f"{error.files[0].parent} holds {count_of(len(error.files), 'file')} of these names that no earlier export "
        f"wrote, or that was edited since: {names}. Nothing was written."
    )
    replace = box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    replace.clicked.connect(lambda: again())
    bench.closing.connect(box.reject)
    box.open()
