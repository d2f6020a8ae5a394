"""What else can be done with classes: re-centre, templates, classify again, bring from and give to other programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QMenu, QMessageBox

from ....model.classes import ClassRun
from ....model.context import JobContext
from ....model.coordinates import Orientation
from ....model.curation import Decision
from ....session.classes import decide
from ....session.classes.browse import classes_of
from ....session.classes.export_classes import export_run
from ....session.classes.other_programs import FrameDoubt, import_run
from ....session.core.edits import count_of
from ....session.core.step import Nothing
from ....session.files.two_readings import Comparison, compare
from ...models.class_table import ClassTable
from ...workbench import Workbench
from ..dialogs.class_axes import ClassFrameDialog
from .class_run import RunBox
from .gallery_tiles import ClassGallery

#: Ends of the files that another program's classes come in.
SUFFIXES = (".star", ".cs", ".mrcs", ".mrc")


_INVERT_TIP = "Chooses the classes that are not chosen now ({select-others})"


class ShownClasses(Protocol):
    """What the menu asks of the tab that it belongs to."""

    model: ClassTable
    gallery: ClassGallery
    run: RunBox

    @property
    def shown(self) -> ClassRun | None:
        """The run whose classes are on the screen."""

    def decide(self, numbers: Sequence[int], decision: Decision) -> None:
        """Decide about all picks of classes, as one step."""


class ClassMenu(QMenu):
    """The *More* menu of the *Classes* tab.

    Parameters
    ----------
    bench : Workbench
    panel : ShownClasses
        A widget, too: the menu opens on it.
    """

    def __init__(self, bench: Workbench, panel: ShownClasses) -> None:
        super().__init__(panel)
        self._bench = bench
        self._session = bench.session
        self._panel = panel
        self.setToolTipsVisible(True)
        self.aboutToShow.connect(self.fill)
        self.fill()

    def fill(self) -> None:
        """Say what can be done now, and why not."""
        self.clear()
        panel = self._panel
        run, chosen = panel.shown, panel.gallery.chosen()
        no_run = "" if run is not None else "no finished classes are shown"
        none = no_run or ("" if chosen else "choose classes first")
        some = f"of {classes_of(len(chosen))}" if chosen else "of all classes"
        entries: tuple[tuple[str, str, Callable[[], object], str], ...] = (
            (
                f"Re-centre the picks {some}",
                no_run,
                self._on_recentre,
                "Moves picks to the centres found; those you moved since stay. One step, one undo.",
            ),
            ("Use as templates", none, self._on_templates, "Keeps the chosen averages for a template picker"),
            (
                "Re-classify these only",
                none or panel.run.why_not(),
                self._on_reclassify,
                "A new classification of the picks of the chosen classes",
            ),
            ("Box and pixel size…", "", panel.run.boxes.fold.toggle, "Of the boxes that are classified next"),
            (
                "Set undecided again",
                none,
                lambda: panel.decide(chosen, Decision.UNDECIDED),
                self._bench.keyed("The picks of these classes, on every micrograph ({undecide})"),
            ),
            (
                "Import classes…",
                "",
                self._on_import,
                "Made in RELION (run_it025_data.star) or cryoSPARC (.cs); or drop the files here",
            ),
            ("Invert the choice", no_run, panel.gallery.invert, self._bench.keyed(_INVERT_TIP)),
            (
                f"Export {classes_of(len(chosen))}…" if chosen else "Export all classes…",
                no_run,
                self._on_export,
                "Averages, particles and a summary of the chosen classes, else of all, into a folder",
            ),
            ("Forget this run…", no_run, self._on_forget, "Picks and decisions stay"),
        )
        for text, why, run_it, tip in entries:
            if text.startswith("Import"):
                self.addSeparator()
            action = self.addAction(text)
            action.setEnabled(not why)
            action.setToolTip(why or tip)
            action.triggered.connect(lambda _checked=False, do=run_it: do())

    def _on_recentre(self) -> None:
        run, chosen = self._panel.shown, self._panel.gallery.chosen()
        if run is not None:
            self._bench.guarded(lambda: self._recentre(run, chosen))

    def _recentre(self, run: ClassRun, chosen: Sequence[int]) -> None:
        n = sum(sum(self._panel.model.tile(k).counts) for k in chosen or self._panel.model.numbers)
        outcome = decide.recentre(self._session, run.id, chosen or None, at_most=n)
        if isinstance(outcome, Nothing):
            self._bench.say(outcome.why, "info")

    def _on_templates(self) -> None:
        run, chosen = self._panel.shown, self._panel.gallery.chosen()
        if run is not None:
            self._bench.guarded(lambda: self._keep_templates(run, chosen))

    def _keep_templates(self, run: ClassRun, chosen: Sequence[int]) -> None:
        path = decide.save_templates(self._session, run.id, chosen)
        self._bench.say(f"kept {count_of(len(chosen), 'template')} in {path}")

    def _on_reclassify(self) -> None:
        run, chosen = self._panel.shown, self._panel.gallery.chosen()
        if run is not None:
            self._bench.guarded(lambda: self._panel.run.classify(decide.reclassify(run, chosen)))

    def _on_forget(self) -> None:
        run = self._panel.shown
        if run is None:
            return
        asked = QMessageBox.question(
            self._panel,
            "Forget these classes?",
            f"“{run.name}” and its averages are deleted. Picks and decisions stay. This cannot be undone.",
        )
        if asked == QMessageBox.StandardButton.Yes and self._bench.guarded(
            lambda: decide.forget_run(self._session, run)
        ):
            self._panel.run.forget(run)

    def _on_export(self) -> None:
        run = self._panel.shown
        chosen = QFileDialog.getExistingDirectory(self._panel, "Folder for the classes")
        if chosen and run is not None:
            self.export(run, Path(chosen), self._panel.gallery.chosen() or None)

    def export(self, run: ClassRun, folder: Path, numbers: Sequence[int] | None = None) -> None:
        """Write a run, or some classes of it, for other programs, in the background."""
        session, bench = self._session, self._bench

        def work(context: JobContext) -> tuple[Path, ...]:
            return export_run(session, run, folder, numbers=numbers, context=context)

        bench.start(
            work,
            title=f"export classes to {folder.name}",
            on_done=lambda files: bench.say(f"wrote {', '.join(file.name for file in files)} to {folder}"),
        )

    def _on_import(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(
            self._panel,
            "Classes of other programs",
            str(self._session.data_root),
            "Classes (*.star *.cs);;All files (*)",
        )
        if chosen:
            self.import_files([Path(name) for name in chosen])

    def import_files(
        self, files: Sequence[Path], orientation: Orientation | None = None, permissive: bool = False
    ) -> None:
        """Take in classes made in another program, in the background; where only a person knows the frame, ask."""
        session, bench = self._session, self._bench

        def work(context: JobContext) -> decide.RunResult | tuple[FrameDoubt, Comparison | None]:
            try:
                return import_run(session, files, orientation=orientation, permissive=permissive, context=context)
            except FrameDoubt as doubt:
                return doubt, compare(session, doubt.plan, context)

        bench.start(
            work,
            title=f"import classes of {files[0].name}",
            on_done=lambda brought: self._on_imported(files, permissive, brought),
        )

    def _on_imported(
        self,
        files: Sequence[Path],
        permissive: bool,
        brought: decide.RunResult | tuple[FrameDoubt, Comparison | None],
    ) -> None:
        if isinstance(brought, decide.RunResult):
            self._panel.run.enter(brought)
            return
        doubt, drawn = brought
        ask = ClassFrameDialog(self._bench, doubt, drawn, lambda way: self.import_files(files, way, permissive))
        ask.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        ask.show()
