"""Importing picks: what was recognised, what the image says of it, then one button."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from .... import extensions
from ....errors import AnnotatorError
from ....formats.check.frame import describe
from ....formats.class_files import ClassSet, find_class_set
from ....formats.image.images import MRC_EXTENSIONS
from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.coordinates import Orientation
from ....model.curation import Decision
from ....session.classes.browse import classes_of
from ....session.core.edits import count_of
from ....session.files import importing
from ....session.files.two_readings import Comparison, compare
from ...latest import Latest
from ...plain_text import escaped
from ...workbench import Workbench
from ..parts.compact import grow
from ..parts.species_choice import species_choice, species_named

AUTO = "Detect automatically"
FRAMES = {
    "as the format says, checked against the image": None,
    "as stored (RELION): row = y": Orientation.AS_STORED,
    "flipped (CryoPPP, cryoSPARC): row = H - y": Orientation.FLIP_Y,
    "x and y exchanged": Orientation.SWAP_XY,
    "exchanged and flipped": Orientation.SWAP_FLIP_Y,
}
ENTER_AS = {"undecided": Decision.UNDECIDED, "accepted": Decision.ACCEPTED, "rejected": Decision.REJECTED}
_ENTER_TIP = "The decision of picks for which the file gives none; false_positives stay rejected"
_PICTURE_PX = 330


#: Files, how a person says the axes lie, whether bad rows are left out.
ImportClasses = Callable[[Sequence[Path], Orientation | None, bool], object]


class What(StrEnum):
    """What is taken from particles that have 2D classes."""

    CLASSES = "2D classes, for the picks that are here"
    PICKS = "picks"
    BOTH = "picks, then their 2D classes"


class ImportDialog(QDialog):
    """Choose coordinate files or a folder; they are read at once, in the background, and entered with the button.

    Parameters
    ----------
    bench : Workbench
    paths : sequence of Path
        Read these to begin with (what was dropped).
    import_classes : callable, optional
        Gets files whose 2D classes are wanted, how the axes lie (None = as the format says), and whether bad rows are
        left out; also after the dialog has gone.
    """

    def __init__(
        self,
        bench: Workbench,
        parent: QWidget | None = None,
        paths: Sequence[Path] = (),
        import_classes: ImportClasses | None = None,
    ) -> None:
        super().__init__(parent)
        self._import_classes = import_classes
        self._bench = bench
        self._paths: list[Path] = []
        self._plans: list[importing.ImportPlan] = []
        self._latest = Latest()
        self._classes: ClassSet | None = None
        self.setWindowTitle("Import picks")
        self.setMinimumWidth(620)
        self.setAcceptDrops(True)
        self.path = QLineEdit()
        self.path.setPlaceholderText("a coordinate file, or a CryoPPP folder; or drop files here")
        file, folder = QPushButton("Files…"), QPushButton("Folder…")
        file.setToolTip("Choose coordinate files; several that belong together are one import")
        folder.setToolTip("Choose a CryoPPP folder with its labels")
        file.clicked.connect(self._on_file)
        folder.clicked.connect(self._on_folder)
        row = QHBoxLayout()
        row.addWidget(self.path, 1)
        row.addWidget(file)
        row.addWidget(folder)
        self.format = QComboBox()
        self.format.addItem(AUTO, None)
        for name, file_format in extensions.formats().items():
            if file_format.can_read:
                self.format.addItem(file_format.title, name)
        self.format.setToolTip("Only where a file is not recognised as what it is")
        self.frame = QComboBox()
        self.frame.setToolTip("Where the file counts rows from; the image is asked, so leave it unless you know better")
        for text, orientation in FRAMES.items():
            self.frame.addItem(text, orientation)
        self.decision = QComboBox()
        self.decision.addItems(list(ENTER_AS))
        self.what = QComboBox()
        self.what.addItems(list(What))
        self.what.setToolTip(
            "2D classes enter no picks: each particle is taken for the pick it lies on, and shown in the Classes tab"
        )
        self.what.activated.connect(lambda _row: self._show())
        self.species = species_choice(bench.session)
        self.permissive = QCheckBox("Skip invalid rows")
        self.permissive.setToolTip("The rows left out are named before anything is entered")
        form = QFormLayout()
        form.addRow("Files or folder", row)
        form.addRow("Take", self.what)
        form.addRow("Format", self.format)
        form.addRow("Frame", self.frame)
        form.addRow("Import as", self.decision)
        form.addRow("Species", self.species)
        form.addRow("", self.permissive)
        self._what_label = form.labelForField(self.what)
        self.said = QLabel()
        self.said.setWordWrap(True)
        self.said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        self.buttons.accepted.connect(self._on_import)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.said)
        layout.addWidget(self.buttons)
        self.finished.connect(self._forget)
        self.path.editingFinished.connect(self._on_typed)
        for choice in (self.format, self.frame):
            choice.activated.connect(self._read)
        self.permissive.toggled.connect(self._read)
        self._show()
        if paths:
            self.read(paths)

    def dragEnterEvent(self, event: object) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():  # type: ignore[attr-defined]
            event.acceptProposedAction()  # type: ignore[attr-defined]

    def dropEvent(self, event: object) -> None:
        """Read what is dropped."""
        self.read([Path(url.toLocalFile()) for url in event.mimeData().urls()])  # type: ignore[attr-defined]

    def read(self, paths: Sequence[Path]) -> None:
        """Read files and show what they are."""
        self._paths = list(paths)
        self.path.setText("; ".join(str(path) for path in paths))
        self._read()

    def _on_typed(self) -> None:
        typed = [Path(part.strip()).expanduser() for part in self.path.text().split(";") if part.strip()]
        if typed != self._paths:
            self._paths = typed
            self._read()

    def _on_file(self) -> None:
        endings = sorted({e for f in extensions.formats().values() if f.can_read for e in f.extensions})
        pattern = " ".join(f"*{e}" for e in endings)
        start = str(self._bench.session.data_root)
        chosen, _ = QFileDialog.getOpenFileNames(self, "Coordinate files", start, f"Coordinates ({pattern});;All (*)")
        if chosen:
            self.read([Path(name) for name in chosen])

    def _on_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "CryoPPP folder", str(self._bench.session.data_root))
        if chosen:
            self.read([Path(chosen)])

    def _read(self, *_: object) -> None:
        self._plans, self._classes = [], None
        self._latest.ask()
        if not self._paths:
            self._show()
            return
        self.said.setText("reading …")
        self.ok.setEnabled(False)
        session, paths, takes_classes = self._bench.session, self._paths, self._import_classes is not None
        words = {
            "format": self.format.currentData(),
            "orientation": self.frame.currentData(),
            "permissive": self.permissive.isChecked(),
        }

        def work(context: JobContext) -> tuple[list[importing.ImportPlan], ClassSet | None]:
            class_set = find_class_set(paths) if takes_classes else None
            picks = paths if class_set is None else [path for path in paths if not _is_of_classes(path)]
            return importing.read_many(session, picks, context=context, **words), class_set

        self._bench.start(
            work,
            title=_reading(paths),
            on_done=self._latest.only(self._on_read),
            on_failed=self._latest.only(self._on_failed),
        )

    def _forget(self, _result: int) -> None:
        """The dialog is closing: what is still being read is not wanted any more."""
        self._latest.forget()

    def _on_read(self, contents: tuple[list[importing.ImportPlan], ClassSet | None]) -> None:
        before, (self._plans, self._classes) = self._classes, contents
        if self._classes is not None and self._classes != before:
            picks_here = any(self._bench.session.counts().values())
            self.what.setCurrentText(What.CLASSES if picks_here else What.BOTH)
        self._show()

    def _on_failed(self, job: Job) -> None:
        self._show(str(job.error))

    def _chosen_contents(self) -> What:
        return What.PICKS if self._classes is None else What(self.what.currentText())

    def _show(self, why: str = "") -> None:
        n, class_set, what = sum(plan.n_picks for plan in self._plans), self._classes, self._chosen_contents()
        for widget in (self.what, self._what_label):
            widget.setVisible(class_set is not None)
        enters = what is not What.CLASSES
        self.decision.setEnabled(enters)
        self.decision.setToolTip(_ENTER_TIP if enters else "2D classes enter no picks")
        self.ok.setEnabled(n > 0)
        parts = [count_of(n)] if enters else []
        if class_set is not None and what is not What.PICKS:
            parts.append(classes_of(class_set.n_averages))
        self.ok.setText(f"Import {' and '.join(parts)}" if n else "Import")
        self.ok.setToolTip("" if n else "choose a file first")
        lines = [summary(plan) for plan in self._plans]
        if class_set is not None:
            averages = count_of(class_set.n_averages, "average")
            lines.append(f"These particles have 2D classes: {averages} in {class_set.averages.name}")
        self.said.setText(why or "\n".join(lines))
        self.said.setStyleSheet(f"color: {self._bench.ink('error')};" if why else "")
        grow(self)

    def _on_import(self) -> None:
        what, files, permissive = self._chosen_contents(), tuple(self._paths), self.permissive.isChecked()
        chosen, import_classes = self.frame.currentData(), self._import_classes

        def follow(plan: importing.ImportPlan) -> None:
            turned = plan.frame.orientation is not plan.declared.orientation
            if what is What.BOTH and import_classes is not None:
                import_classes(files, plan.frame.orientation if turned else chosen, permissive)

        if what is What.CLASSES and import_classes is not None:
            import_classes(files, chosen, permissive)
        else:
            plans = [replace(plan, species=species_named(self.species)) for plan in self._plans]
            enter_all(self._bench, plans, ENTER_AS[self.decision.currentText()], follow)
        self.accept()


def _is_of_classes(path: Path) -> bool:
    """Whether a file that was named with particles and their classes holds no positions."""
    name = path.name.lower()
    return name.endswith((*MRC_EXTENSIONS, "_model.star")) or "class_averages" in name


def _reading(paths: Sequence[Path]) -> str:
    return f"read {paths[0].name}{' …' if len(paths) > 1 else ''}"


def summary(plan: importing.ImportPlan) -> str:
    """What was recognised in a file, in a few lines."""
    n_micrographs = len({m.id for m, _ in plan.placeable})
    on = count_of(n_micrographs, "micrograph")
    lines = [
        f"{plan.file.path.name}: {plan.file.format}, {count_of(plan.n_picks)} on {on}",
        f"   {plan.frame_message()}",
    ]
    lines += [f"   assumed: {note}" for note in plan.assumptions]
    if plan.file.pixel_size_doubt:
        lines.append(f"   pixel size not taken from the file: {plan.file.pixel_size_doubt}")
    if plan.contradicted:
        lines.append("   the two readings will be shown to you before anything is entered")
    if plan.unmatched:
        lines.append(f"   {len(plan.unmatched)} names match no micrograph: {', '.join(plan.unmatched[:3])} …")
    if plan.ambiguous:
        lines.append(f"   {len(plan.ambiguous)} names are ambiguous: {', '.join(list(plan.ambiguous)[:3])} …")
    if plan.file.issues:
        first = plan.file.issues[0]
        where = "" if first.line is None else f" (line {first.line}: {first.message})"
        lines.append(f"   {count_of(len(plan.file.issues), 'bad row')} left out{where}")
    return "\n".join(lines)


def start_import(bench: Workbench, path: Path, *, decision: Decision = Decision.UNDECIDED) -> None:
    """Read a coordinate file or folder in the background, then enter it as one step."""
    session = bench.session

    def failed(job: Job) -> None:
        bench.say(str(job.error), "error")
        bench.imported.emit()

    bench.start(
        lambda context: importing.read_many(session, [path], context=context),
        title=_reading([path]),
        on_done=lambda plans: enter_all(bench, plans, decision),
        on_failed=failed,
    )


Entered = Callable[[importing.ImportPlan], object]


def enter_all(
    bench: Workbench,
    plans: Sequence[importing.ImportPlan],
    decision: Decision,
    entered: Entered = lambda _plan: None,
) -> None:
    """Enter imports, each one step; where format and image disagree a person is asked, with both readings drawn.

    ``entered`` gets each plan when its picks are there, from this import or an earlier one.
    """
    session = bench.session
    for plan in plans:
        if not plan.contradicted:
            _enter(bench, plan, decision, entered)
            continue
        bench.start(
            partial(compare, session, plan),
            title="draw both readings",
            quiet=True,
            on_done=partial(_ask, bench, plan, decision, entered),
            on_failed=partial(_ask_without, bench, plan, decision, entered),
        )


def _enter(bench: Workbench, plan: importing.ImportPlan, decision: Decision, entered: Entered) -> None:
    def over(line: str | None) -> None:
        if line is not None:
            bench.say(line)
        bench.imported.emit()
        if line is not None:
            entered(plan)

    def now() -> None:
        try:
            importing.enter(bench.session, plan, decision=decision, then=over)
        except AnnotatorError:  # imported before, say
            bench.imported.emit()
            entered(plan)
            raise

    bench.guarded(lambda: bench.session.when_free(now))


def _ask(
    bench: Workbench, plan: importing.ImportPlan, decision: Decision, entered: Entered, drawn: Comparison | None
) -> None:
    dialog = FrameDialog(bench, plan, drawn, lambda chosen: _enter(bench, chosen, decision, entered))
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    bench.closing.connect(dialog.reject)
    dialog.show()
    # the picture behind it is complete; only the picks wait
    bench.imported.emit()


def _ask_without(
    bench: Workbench, plan: importing.ImportPlan, decision: Decision, entered: Entered, _job: object
) -> None:
    _ask(bench, plan, decision, entered, None)


class FrameDialog(QDialog):
    """Which frame is right, where the image contradicts the format. Nothing is entered until a person chooses.

    Parameters
    ----------
    bench : Workbench
    plan : ImportPlan
    drawn : Comparison or None
    on_chosen : callable
        Gets the plan in the chosen frame.
    """

    def __init__(
        self,
        bench: Workbench,
        plan: importing.ImportPlan,
        drawn: Comparison | None,
        on_chosen: Callable[[importing.ImportPlan], None],
    ) -> None:
        super().__init__(bench.window)
        self._bench, self._plan, self._on_chosen = bench, plan, on_chosen
        self.setWindowTitle("Where are the particles?")
        message = QLabel(
            f"<b>{escaped(plan.file.path.name)}</b> is {plan.file.format}, whose frame is {describe(plan.declared)}. "
            f"The image says {plan.verdict}, by {plan.verdict.margin_se:.0f} standard errors. In which picture do the "
            "rings hold particles? Nothing is imported until you choose."
        )
        message.setTextFormat(Qt.TextFormat.RichText)
        message.setWordWrap(True)
        pictures = QHBoxLayout()
        self.image = QPushButton(f"As the image says: {plan.verdict}")
        self.file = QPushButton(f"As the format says: {describe(plan.declared)}")
        for places, button, choose in (
            (None if drawn is None else drawn.seen, self.image, plan.as_imaged),
            (None if drawn is None else drawn.declared, self.file, plan.as_the_format_says),
        ):
            column = QVBoxLayout()
            if drawn is not None and places is not None:
                picture = QLabel()
                picture.setPixmap(rings_drawn(drawn, places))
                column.addWidget(picture)
            column.addWidget(button)
            button.clicked.connect(partial(self._choose, choose))
            pictures.addLayout(column)
        self.image.setDefault(True)
        leave = QPushButton("Do not import")
        leave.clicked.connect(self._leave)
        layout = QVBoxLayout(self)
        layout.addWidget(message)
        layout.addLayout(pictures)
        layout.addWidget(leave)

    def _choose(self, choose: Callable[[], importing.ImportPlan], _checked: bool = False) -> None:
        self.accept()
        self._on_chosen(choose())

    def _leave(self) -> None:
        self._bench.say(f"{self._plan.file.path.name} was not imported", "info")
        self.reject()


def rings_drawn(drawn: Comparison, places: NDArray[np.float64]) -> QPixmap:
    """The part of the micrograph with rings at ``places`` (n, 2), xy, px."""
    height, width = drawn.pixels.shape
    image = QImage(drawn.pixels.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    scale = _PICTURE_PX / max(width, height)
    pixmap = QPixmap.fromImage(image).scaled(
        _PICTURE_PX, _PICTURE_PX, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor("#F0C33C"), 2))
    for x, y in places.tolist():
        # pixel centres lie on integers, Qt's corners do
        painter.drawEllipse(QPointF((x + 0.5) * scale, (y + 0.5) * scale), drawn.radius * scale, drawn.radius * scale)
    painter.end()
    return pixmap
