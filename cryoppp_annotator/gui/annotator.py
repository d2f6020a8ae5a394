"""The widget in napari's Plugins menu, which is the whole application: it opens a project into a viewer."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from pathlib import Path

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QMainWindow,
    QMenu,
    QMenuBar,
    QMessageBox,
    QSizePolicy,
    QStackedWidget,
    QTabWidget,
    QToolButton,
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
from ..session.core.server_projects import files_note
from ..session.core.session import Session
from ..session.review.history import HistoryScope
from .binding import is_alive
from .bridge import Bridge
from .coverage_watch import CoverageWatch
from .dock_room import give_room
from .docks import PANEL_WIDTH, Docks
from .drops import Drops
from .icons import Icons
from .menus import Menus
from .panel import Follower, followers
from .plain_text import PlainText
from .recent import remember
from .report_action import ReportActions
from .run_on import RunOn
from .view_watch import ViewWatch
from .widgets.dialogs.export_dialog import ExportDialog
from .widgets.dialogs.help import HelpDialog
from .widgets.dialogs.import_dialog import ImportDialog, start_import
from .widgets.dialogs.merge_dialog import MergeDialog
from .widgets.dialogs.relion_dialog import RelionDialog, offered
from .widgets.panels.check import CheckPanel
from .widgets.panels.class_panel import ClassesPanel
from .widgets.panels.history import HistoryPanel
from .widgets.panels.jobs import JobsPanel
from .widgets.panels.map_panel import MapPanel
from .widgets.panels.micrographs import MicrographsPanel
from .widgets.panels.pick import PickPanel
from .widgets.panels.review import ReviewPanel
from .widgets.panels.screen import ScreenPanel
from .widgets.parts.compact import compact, primary
from .widgets.parts.start_page import StartPage
from .widgets.parts.status_line import StatusLine
from .workbench import Workbench, viewer_widgets

log = logging.getLogger(__name__)


class Annotator(QWidget):
    """Start page, then the panels of one open project.

    Parameters
    ----------
    napari_viewer : Viewer
        Its other layers are left alone; closing the widget leaves the viewer as it was.
    own_window : bool
        The window is the program's own: its menus are ours, and its docks have no title bars.
    """

    opened = Signal()
    ready = Signal()  # the first micrograph and its picks are on the screen
    failed = Signal(str)

    def __init__(self, napari_viewer: Viewer, *, own_window: bool = False) -> None:
        super().__init__()
        PlainText.install()
        # napari hands plugins a proxy that warns of what it has no public name for, and whose layers are proxies too
        self.viewer: Viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.bench: Workbench | None = None
        self.runner = Runner()
        self.bridge = Bridge(self.runner)
        self.run_on = RunOn()
        self._opening: Job | None = None
        self._docks = Docks(self.viewer, self, own_window=own_window)
        self.own_window = own_window
        self._panels: list[Follower] = []
        self.menus: Menus | None = None
        self._menu: QMenu | None = None
        self._docked = False
        self._awaiting = {"picture", "import"}
        self._stack = QStackedWidget()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._stack)
        self.icons = Icons(self.viewer)
        self.start_page = StartPage(self.icons)
        self.start_page.path_chosen.connect(self.open_path)
        self.start_page.demo_wanted.connect(self.open_demo)
        self._stack.addWidget(self.start_page)
        self.setMinimumWidth(PANEL_WIDTH - 4)
        # else napari puts a stretch below and the panel stays short
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

    def open_demo(self) -> None:
        """Make simulated micrographs, and open them."""
        self._stop_opening()
        self.start_page.message.setText("making six simulated micrographs …")
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

        self.start_page.message.setText(f"opening {path} …")
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
        self.start_page.message.setText(why)
        self.failed.emit(why)

    def _on_opened(self, session: Session, plan: opening.Plan) -> None:
        try:
            self.bench = bench = Workbench(self.viewer, session, self.runner, self.bridge, self.icons, self.run_on)
        except AnnotatorError as error:
            session.close()
            self.refuse(str(error))
            return
        self._build(bench)
        remember(session.store.folder)
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
        averaged = "" if plan.exists else opening.averaged_note(session)
        for note in (plan.note, averaged, opening.journal_note(session), files_note(session)):
            if note:
                bench.say(note, "warning")
        bench.watcher.check_now()
        labels = None if plan.exists or plan.data_root is None else _labels(plan.data_root)
        if labels is not None:
            start_import(bench, labels)
        else:
            self._arrived("import")
            if not plan.exists:
                self.ask_relion()
        self.opened.emit()

    def _arrived(self, what: str) -> None:
        if what in self._awaiting:
            self._awaiting.discard(what)
            if not self._awaiting:
                self.ready.emit()
                self.pick.view.fold.estimate_missing()

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
        # napari's title bar covers the first few pixels
        layout.setContentsMargins(2, 2 if self.own_window else 10, 2, 2)
        self.tabs = tabs = _narrow_tabs()
        self.pick, self.classes, self.review = PickPanel(bench), ClassesPanel(bench), ReviewPanel(bench)
        self.check, self.screen = CheckPanel(bench), ScreenPanel(bench)
        self.history, self.jobs, self.volume = HistoryPanel(bench), JobsPanel(bench), MapPanel(bench)
        shown = (self.pick, self.classes, self.volume, self.review, self.check, self.screen)
        for panel in (*shown, self.history, self.jobs):
            tabs.addTab(panel, panel.title)
            compact(panel)
        primary(self.classes.run.start, self.volume.run.start, self.review.queue.find, self.review.sets.start)
        primary(self.check.check, self.screen.measure)
        layout.addWidget(tabs, 1)
        self.micrographs, self.status = MicrographsPanel(bench), StatusLine(bench)
        self._docks.add(self.micrographs, self.pick.view.bar, self.status)
        if not self.own_window:
            give_room(self.viewer, self._docks.micrographs)
        self.coverage, self.view_watch = CoverageWatch(bench), ViewWatch(bench)
        panels = [panel for root in (page, self.micrographs, self.status) for panel in followers(root)]
        self._panels = [*panels, self.coverage, self.view_watch]
        self._aside = (self.history, self.jobs)
        for button, panel in ((self.status.history, self.history), (self.status.jobs, self.jobs)):
            button.clicked.connect(lambda _checked=False, aside=panel: self._show_aside(aside))
        tabs.currentChanged.connect(self._hide_aside)
        self._hide_aside()
        self.classes.run.chosen.connect(self.pick.by_class.show_run)
        self.pick.by_class.show_run(self.classes.run.shown)
        self.screen.dimmed.connect(self.micrographs.on_screened)
        self._stack.addWidget(page)
        self._stack.setCurrentWidget(page)
        if not self.own_window:
            self._menu = bench.window.menuBar().addMenu("&Annotate")  # type: ignore[attr-defined]
            self.menus = Menus(self, self._menu)
            self._add_corner(tabs, self._menu)
        bench.history_requested.connect(self._show_history)
        bench.compare_requested.connect(self._show_compared)
        bench.gestures.on_history = lambda pick: bench.history_requested.emit(HistoryScope(particle=pick))
        bench.fold_requested.connect(self._docks.fold)
        bench.widen_requested.connect(self._docks.widen)
        bench.help_requested.connect(self.show_help)
        bench.export_requested.connect(self.show_export)

    def _add_corner(self, tabs: QTabWidget, menu: QMenu) -> None:
        """The menus beside the tabs, too: napari's bar is far away."""
        corner = QToolButton()
        self.icons.put(corner, "menu")
        corner.setToolTip("Import, export, keys: everything of the menu Annotate")
        corner.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        corner.setMenu(menu)
        corner.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        tabs.setCornerWidget(corner)

    def _show_aside(self, panel: QWidget) -> None:
        """History or Jobs, which have a tab while they are looked at; asked for again, the tab before them."""
        if self.tabs.currentWidget() is panel:
            self.tabs.setCurrentWidget(self._before_aside)
        else:
            self.tabs.setCurrentWidget(panel)

    def _show_history(self, scope: HistoryScope) -> None:
        self.tabs.setCurrentWidget(self.history)
        self.history.show_about(scope)

    def _show_compared(self, first: int, second: int) -> None:
        self.tabs.setCurrentWidget(self.review)
        self.review.show_compared(first, second)

    def _hide_aside(self, _index: int = 0) -> None:
        shown = self.tabs.currentWidget()
        if shown not in self._aside:
            self._before_aside = shown
        for panel in self._aside:
            self.tabs.setTabVisible(self.tabs.indexOf(panel), panel is shown)

    def use_menu_bar(self, bar: QMenuBar) -> Menus:
        """Our menus instead of napari's, in a window of our own."""
        for action in bar.actions():
            action.setVisible(False)
        self.menus = Menus(self, bar)
        me = weakref.proxy(self)  # what is connected to a menu outlives the window
        self.menus.add("Help", "Save a report…", self.report.save.toolTip(), lambda: me.report.ask())
        self.menus.add("Help", "Show the log", self.report.log.toolTip(), lambda: me.report.log.trigger())
        return self.menus

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

    def ask_relion(self) -> None:
        """What is taken from the RELION project that the micrographs are of, beside them."""
        if self.bench is not None and (jobs := offered(self.bench.session.data_root)):
            self._show(RelionDialog(self.bench, jobs, self.import_classes, self.bench.window), self.bench)

    def ask_merge(self) -> None:
        """Ask for another project, and show what merging it would bring."""
        bench = self.bench
        chosen = "" if bench is None else QFileDialog.getExistingDirectory(self, "Project to merge into this one")
        if bench is not None and bench is self.bench and chosen:
            self.merge(Path(chosen))

    def merge(self, other: Path) -> None:
        """Show what merging another project would bring; its button does it."""
        if self.bench is not None:
            self._show(MergeDialog(self.bench, other, self.bench.window), self.bench)

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
        self._panels, self._menu = [], None
        if self.menus is not None and self.own_window:
            self.menus.forget()
        elif self.menus is not None:
            self.menus.close()
            self.menus = None

    def _take_down(self, lost: list[str]) -> None:
        self._docks.remove()
        if self._menu is not None:
            self._menu.menuAction().setVisible(False)
            self._menu.deleteLater()
        while self._stack.count() > 1:
            page = self._stack.widget(1)
            self._stack.removeWidget(page)
            page.deleteLater()
        self.start_page.show_recent()
        message = f"the picks are saved. Lost, because they could not be saved: {'; '.join(lost)}." if lost else ""
        self.start_page.message.setText(f"Closed; {message or 'everything is saved.'}")

    def shut_down(self) -> None:
        """Close the project and stop the workers."""
        self.close_project()
        if self.own_window and self.menus is not None:
            self.menus.close()
            self.menus = None
        for watched in self._watched:
            if is_alive(watched):
                watched.removeEventFilter(self)
        self._watched = ()
        self._drops.close()
        self.icons.close()
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


def _labels(data_root: Path) -> Path | None:
    """A CryoPPP data set brings its labels along."""
    cryoppp = extensions.formats().get("cryoppp")
    try:
        return data_root if cryoppp is not None and cryoppp.sniff(data_root, b"") > 0.9 else None
    except (OSError, FormatError):
        return None


def _narrow_tabs() -> QTabWidget:
    """Tabs of which six stand side by side in the narrowest panel."""
    tabs = QTabWidget()
    tabs.setStyleSheet("QTabBar::tab { padding: 3px 4px; margin: 0px 1px 0px 0px; min-width: 8px; }")
    return tabs


class _Closer:
    """Stops the workers when Qt destroys the widget without closing it."""

    def __init__(self, annotator: Annotator) -> None:
        self._runner = annotator.runner

    def __call__(self, *_: object) -> None:
        self._runner.close()
