"""The widget in napari's Plugins menu, which is the whole application: it opens a project into a viewer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from .. import extensions
from ..batch import demo
from ..errors import AnnotatorError, FormatError
from ..jobs.runner import Job, Runner
from ..model.context import JobContext
from ..model.coordinates import Orientation
from ..session.core import opening
from ..session.core.session import Session
from .bridge import Bridge
from .dock_room import give_room
from .drops import Drops
from .panel import Follower, followers
from .plain_text import PlainText
from .report_action import ReportActions
from .run_on import RunOn
from .widgets.dialogs.export_dialog import ExportDialog
from .widgets.dialogs.help import HelpDialog
from .widgets.dialogs.import_dialog import ImportDialog, start_import
from .widgets.panels.check import CheckPanel
from .widgets.panels.class_panel import ClassesPanel
from .widgets.panels.history import HistoryPanel
from .widgets.panels.jobs import JobsPanel
from .widgets.panels.micrographs import MicrographsPanel
from .widgets.panels.pick import PickPanel
from .widgets.panels.review import ReviewPanel
from .widgets.panels.screen import ScreenPanel
from .widgets.parts.status_line import StatusLine
from .workbench import Workbench, is_alive, viewer_widgets

log = logging.getLogger(__name__)

MICROGRAPHS = "Micrographs"
STATUS = "Status"


class Annotator(QWidget):
    """Start page, then the panels of one open project.

    Parameters
    ----------
    napari_viewer : Viewer
        Its other layers are left alone; closing the widget leaves the viewer as it was.
    """

    opened = Signal()
    ready = Signal()  # the first micrograph and its picks are on the screen
    failed = Signal(str)

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__()
        PlainText.install()
        # napari hands plugins a proxy that warns of what it has no public name for, and whose layers are proxies too
        self.viewer: Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.bench: Workbench | None = None
        self.runner = Runner()
        self.bridge = Bridge(self.runner)
        self.run_on = RunOn()
        self._opening: Job | None = None
        self._docks: list[QWidget] = []
        self._panels: list[Follower] = []
        self._menu: QMenu | None = None
        self._docked = False
        self._awaiting = {"picture", "import"}
        #: Whether the window is our program's: nothing that is dropped into it is meant for napari.
        self.own_window = False
        self._stack = QStackedWidget()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self._start_message = QLabel()
        self._stack.addWidget(self._start_page())
        self.setMinimumWidth(385)
        # else napari puts a stretch below, and the panel stays short
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.destroyed.connect(_Closer(self))
        self._watched = viewer_widgets(self.viewer)
        for watched in self._watched:
            watched.installEventFilter(self)
        self._drops = Drops(self._watched[0], self)
        #: *Save a report* and *Show the log*.
        self.report = ReportActions(
            self._watched[0], self.viewer.window.help_menu, lambda: self.bench and self.bench.session, self.bridge.start
        )

    # ------------------------------------------------------------------ start page

    def _start_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        title = QLabel("<h2>CryoPPP Annotator</h2>Label protein particles in cryo-EM micrographs.")
        title.setTextFormat(Qt.TextFormat.RichText)
        title.setWordWrap(True)
        layout.addWidget(title)
        for text, tip, run in (
            ("Open a folder of micrographs…", "Also a CryoPPP data set or an existing project", self._on_open_folder),
            ("Open one micrograph…", "MRC, TIFF, PNG or JPEG", self._on_open_file),
            ("Try the demo", "Six simulated micrographs whose truth is known", self._on_demo),
        ):
            button = QPushButton(text)
            button.setToolTip(tip)
            button.clicked.connect(run)
            layout.addWidget(button)
        self._start_message.setWordWrap(True)
        self._start_message.setText(
            "Or drop a folder here. Images are never changed; what you do is saved as you do it."
        )
        layout.addWidget(self._start_message)
        layout.addStretch(1)
        return page

    def _on_open_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of micrographs, data set or project")
        if chosen:
            self.open_path(Path(chosen))

    def _on_open_file(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Micrograph")
        if chosen:
            self.open_path(Path(chosen))

    def _on_demo(self) -> None:
        self._stop_opening()
        self._start_message.setText("making six simulated micrographs …")
        self._opening = self.bridge.start(
            lambda context: demo.build(context=context),
            title="make the demo",
            on_done=lambda made: self.open_path(made.project),
            on_failed=self._on_open_failed,
        )

    # ------------------------------------------------------------------ opening

    def open_path(self, path: Path, *, project_folder: Path | None = None, curator: str | None = None) -> None:
        """Open a folder, a data set, a project or an image, in the background; what was chosen last is opened."""
        self._stop_opening()
        self.close_project()

        def work(context: JobContext) -> tuple[Session, opening.Plan]:
            plan = opening.plan(path, project_folder)
            session = opening.open_plan(plan, curator=curator, context=context)
            if context.is_cancelled():
                session.close()
            context.check()
            return session, plan

        self._start_message.setText(f"opening {path} …")
        self._opening = self.bridge.start(
            work,
            title=f"open {path.name}",
            on_done=lambda project: self._on_opened(*project),
            on_failed=self._on_open_failed,
        )

    def _stop_opening(self) -> None:
        """Something else was chosen: what is still being opened (or made) is not wanted any more."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def _on_open_failed(self, job: Job) -> None:
        self.refuse(str(job.error))

    def refuse(self, why: str) -> None:
        """Say on the start page why something was not opened."""
        self._start_message.setText(why)
        self.failed.emit(why)

    def _on_opened(self, session: Session, plan: opening.Plan) -> None:
        try:
            self.bench = bench = Workbench(self.viewer, session, self.runner, self.bridge, self.run_on)
        except AnnotatorError as error:
            session.close()
            self.refuse(str(error))
            return
        self._build(bench)
        missing = opening.missing(session)
        if missing and len(missing) == len(session.micrographs[:20]):
            QTimer.singleShot(0, lambda: self._ask_root(bench))
        self._awaiting = {"picture", "import"}
        bench.picture_shown.connect(lambda _kind: self._arrived("picture"))
        bench.imported.connect(lambda: self._arrived("import"))
        first = self._where_to_start(session)
        if first is not None:
            bench.guarded(lambda: session.go(first))
        else:
            self._awaiting.discard("picture")
        for note in (plan.note, "" if plan.exists else opening.averaged_note(session), opening.journal_note(session)):
            if note:
                bench.say(note, "warning")
        bench.watcher.check_now()
        labels = None if plan.exists or plan.data_root is None else self._labels(plan.data_root)
        if labels is not None:
            start_import(bench, labels)
        else:
            self._arrived("import")
        self.opened.emit()

    def _arrived(self, what: str) -> None:
        if what in self._awaiting:
            self._awaiting.discard(what)
            if not self._awaiting:
                self.ready.emit()

    @staticmethod
    def _labels(data_root: Path) -> Path | None:
        """A CryoPPP data set brings its labels along."""
        cryoppp = extensions.formats().get("cryoppp")
        try:
            return data_root if cryoppp is not None and cryoppp.sniff(data_root, b"") > 0.9 else None
        except (OSError, FormatError):
            return None

    @staticmethod
    def _where_to_start(session: Session) -> int | None:
        """Where the curator left off, else the first micrograph."""
        known = {m.id for m in session.micrographs}
        for entry in session.history(50):
            if entry.micrograph in known:
                return entry.micrograph
        readable = [m.id for m in session.micrographs if not m.problem]
        return readable[0] if readable else (session.micrographs[0].id if session.micrographs else None)

    def _ask_root(self, bench: Workbench) -> None:
        """The micrographs have moved: only a person knows where to."""
        if self.bench is not bench:
            return
        session = bench.session
        box = QMessageBox(bench.window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Where are the micrographs?")
        box.setTextFormat(Qt.TextFormat.PlainText)
        box.setText(f"They are not in {session.data_root} any more. All picks are safe.")
        find = box.addButton("Show me the folder…", QMessageBox.ButtonRole.AcceptRole)
        box.addButton("Continue without images", QMessageBox.ButtonRole.RejectRole)
        bench.closing.connect(box.reject)
        box.exec_()
        if box.clickedButton() is not find:
            return
        chosen = QFileDialog.getExistingDirectory(self, "Folder of the micrographs")
        if self.bench is not bench:
            return  # it was closed while the question stood there
        if chosen:
            self.micrographs.news.relink(Path(chosen))

    # ------------------------------------------------------------------ panels

    def _build(self, bench: Workbench) -> None:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(2, 10, 2, 2)  # napari's title bar covers the first few pixels
        layout.addLayout(self._top_row(bench))
        self.tabs = tabs = QTabWidget()
        self.pick, self.classes, self.review = PickPanel(bench), ClassesPanel(bench), ReviewPanel(bench)
        self.check, self.screen = CheckPanel(bench), ScreenPanel(bench)
        self.history, self.jobs = HistoryPanel(bench), JobsPanel(bench)
        for panel in (self.pick, self.classes, self.review, self.check, self.screen, self.history, self.jobs):
            tabs.addTab(panel, panel.title)
        layout.addWidget(tabs, 1)
        self.micrographs, self.status = MicrographsPanel(bench), StatusLine(bench)
        window = self.viewer.window
        self._docks = [
            window.add_dock_widget(self.micrographs, area="left", name=MICROGRAPHS),
            window.add_dock_widget(self.status, area="bottom", name=STATUS),
        ]
        give_room(self.viewer, self._docks[0])
        self._docks[1].setTitleBarWidget(QWidget())  # a line of text needs no title bar
        self._docks[1].setFixedHeight(self.status.height() + 6)
        self._panels = [panel for root in (page, self.micrographs, self.status) for panel in followers(root)]
        self.classes.run.chosen.connect(self.pick.by_class.show_run)
        self.pick.by_class.show_run(self.classes.run.shown)
        self.screen.dimmed.connect(self.micrographs.on_screened)
        self._stack.addWidget(page)
        self._stack.setCurrentWidget(page)
        self._menu = self._make_menu(bench)
        bench.help_requested.connect(self.show_help)
        bench.export_requested.connect(self.show_export)

    def _top_row(self, bench: Workbench) -> QHBoxLayout:
        row = QHBoxLayout()
        for text, tip, run in (
            ("Import…", "Read a coordinate file into this project", self.show_import),
            ("Export…", "Write coordinate files ({export})", self.show_export),
            ("Keys ({help})", "All keys and gestures", self.show_help),
            ("Close", "Close the project; everything is saved", self.close_project),
        ):
            button = QPushButton()
            bench.keep_keyed(button.setText, text)
            bench.keep_keyed(button.setToolTip, tip)
            button.clicked.connect(run)
            row.addWidget(button)
        return row

    def _make_menu(self, bench: Workbench) -> QMenu | None:
        bar = bench.window.menuBar()  # type: ignore[attr-defined]
        menu = bar.addMenu("&Annotate")
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(lambda: self._fill_menu(menu, bench))
        self._fill_menu(menu, bench)
        return menu

    def _fill_menu(self, menu: QMenu, bench: Workbench) -> None:
        menu.clear()
        group = ""
        reasons: QMenu | None = None
        for command in bench.commands.values():
            if command.group != group:
                group = command.group
                menu.addSection(group)
            why = command.why_not(bench.focus)
            into = menu
            if command.id.startswith("reject-") and command.id != "reject-rest":
                # nine lines fewer: else the menu is higher than a small screen
                reasons = into = reasons or menu.addMenu("Reject as")
                into.setToolTipsVisible(True)
            action = into.addAction(self._menu_text(command.id, bench))
            action.setEnabled(not why)
            action.setToolTip(why or command.about or command.title)
            action.triggered.connect(lambda _checked=False, name=command.id: bench.give(name))

    @staticmethod
    def _menu_text(name: str, bench: Workbench) -> str:
        title = bench.commands[name].title
        entry = None
        if name == "undo":
            entry = bench.session.next_undo()
        elif name == "redo":
            entry = bench.session.next_redo()
        if entry is not None:
            title = f"{title}: {entry.title}"
        keys = bench.keys_of(name)
        return f"{title}\t{keys[0]}" if keys else title

    def show_help(self) -> None:
        """The page of keys."""
        if self.bench is not None:
            self._show(HelpDialog(self.bench, self.bench.window), self.bench)

    def show_import(self) -> None:
        """The import dialog."""
        self.ask_to_import(())

    def ask_to_import(self, paths: Sequence[Path]) -> None:
        """The import dialog, with files to begin with."""
        if self.bench is not None:
            self._show(ImportDialog(self.bench, self.bench.window, paths, self.import_classes), self.bench)

    def import_classes(
        self, files: Sequence[Path], orientation: Orientation | None = None, permissive: bool = False
    ) -> None:
        """Bring 2D classes in, and show the tab that they come to."""
        if self.bench is not None:
            self.tabs.setCurrentWidget(self.classes)
            self.classes.menu.import_files(files, orientation, permissive)

    def show_export(self) -> None:
        """The export dialog."""
        if self.bench is not None:
            self._show(ExportDialog(self.bench, self.bench.window), self.bench)

    @staticmethod
    def _show(dialog: QDialog, bench: Workbench) -> None:
        """Dialogs stand beside the work, nothing is blocked; they are of one project and go with it."""
        bench.closing.connect(dialog.reject)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()
        dialog.raise_()
        dialog.activateWindow()

    # ------------------------------------------------------------------ closing

    def close_project(self) -> None:
        """Put the panels and layers away; the viewer and its other layers stay."""
        bench, self.bench = self.bench, None
        if bench is None:
            return
        for panel in self._panels:
            panel.close_panel()
        bench.close()
        if is_alive(self) and is_alive(bench.window):
            self._take_down([result.run.name for result in self.classes.run.unsaved.held])
        self._docks, self._panels, self._menu = [], [], None

    def _take_down(self, lost: list[str]) -> None:
        for dock in self._docks:
            self.viewer.window.remove_dock_widget(dock)
        if self._menu is not None:
            self._menu.menuAction().setVisible(False)
            self._menu.deleteLater()
        while self._stack.count() > 1:
            page = self._stack.widget(1)
            self._stack.removeWidget(page)
            page.deleteLater()
        message = f"the picks are saved. Lost, because they could not be saved: {'; '.join(lost)}." if lost else ""
        self._start_message.setText(f"Closed; {message or 'everything is saved.'}")

    def shut_down(self) -> None:
        """Close the project and stop the workers."""
        self.close_project()
        for watched in self._watched:
            if is_alive(watched):
                watched.removeEventFilter(self)
        self._watched = ()
        self._drops.close()
        self.report.close()
        self.bridge.close()
        self.runner.close()

    def event(self, event: QEvent) -> bool:
        """napari's ✕ takes the widget out of its dock without closing it: that is closing."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parentWidget() is not None:
                self._docked = True
            elif self._docked:
                QTimer.singleShot(0, self._on_undocked)
        return super().event(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The whole viewer closes: from a script (its canvas goes first), or by a person (its window goes as one)."""
        end = QEvent.Type.DeferredDelete if isinstance(watched, QMainWindow) else QEvent.Type.Close
        if event.type() == end:
            self.shut_down()
        return False

    def _on_undocked(self) -> None:
        if is_alive(self) and self.parentWidget() is None:
            self.shut_down()
            self.deleteLater()

    def closeEvent(self, event: object) -> None:
        """The dock was closed."""
        self.shut_down()
        super().closeEvent(event)


class _Closer:
    """Stops the workers when Qt destroys the widget without closing it."""

    def __init__(self, annotator: Annotator) -> None:
        self._runner = annotator.runner

    def __call__(self, *_: object) -> None:
        self._runner.close()
