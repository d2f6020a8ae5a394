"""The program: a napari window with the annotator in it and napari's panels folded away."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
import warnings
import weakref
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from ..batch import display_check
from ..errors import EngineError
from .app_events import AppEvents
from .splash import Splash, application

if TYPE_CHECKING:
    from napari import Viewer

    from .annotator import Annotator

log = logging.getLogger(__name__)

#: Give up on a screenshot after this long, ms; a busy machine without a GPU needs minutes to open a window.
_SCREENSHOT_LIMIT_MS = 600_000
_SEPARATORS = "QMainWindow::separator { width: 5px; height: 3px; margin: 0px; padding: 0px; image: none; }"
#: A window manager has put its frame around a window by then, ms.
_FRAME_MS = 400


def main(
    path: Path | None,
    *,
    project: Path | None = None,
    curator: str | None = None,
    scheduler: str | None = None,
    screenshot: Path | None = None,
    quit_after: bool = False,
    debug: bool = False,
) -> int:
    """Open the window and run it.

    Parameters
    ----------
    path : Path or None
        Folder, data set, project or image; None = the start page.
    project : Path, optional
        Project folder, where it is not to be beside the data.
    curator : str, optional
    scheduler : str, optional
        Of a Dask cluster that long work runs on, this time.
    screenshot : Path, optional
        Save a picture of the window there once the first micrograph and its picks are drawn.
    quit_after : bool
        Quit after that.
    debug : bool
        Let exceptions end the program.

    Returns
    -------
    int
        Exit code: 1 where the path could not be opened and the window was to quit automatically.

    Raises
    ------
    EngineError
        This display cannot draw what the window draws.
    """
    _make_drawable()
    warnings.filterwarnings("ignore", message="System theme detection")
    app, splash = application(), Splash()
    splash.show()
    splash.say("loading napari …")
    from napari import Viewer, run
    from napari._qt import qt_main_window
    from napari._qt.qt_event_filters import QtToolTipEventFilter
    from napari.utils.notifications import notification_manager

    splash.say("loading the annotator …")
    from .annotator import Annotator
    from .run_on import RunOn

    # napari's note to developers about PyQt5 would cover the curator's scale bar at every start
    qt_main_window.SHOW_QT_WARNING = False
    wraps_tooltips = QtToolTipEventFilter()  # as napari's own application has
    AppEvents.instance().listen((QEvent.Type.ToolTipChange,), wraps_tooltips.eventFilter)
    splash.say("opening the window …")
    viewer = Viewer(title="CryoPPP Annotator", show=False)
    window = viewer.window._qt_window
    fold_napari(viewer)
    unasked = close_unasked(window)
    annotator = Annotator(viewer, own_window=True)
    own_menus(annotator, window)
    if scheduler is not None:
        annotator.run_on = RunOn(scheduler)
    viewer.window.add_dock_widget(annotator, area="right", name="CryoPPP Annotator")
    viewer.show()
    splash.finish(window)
    size_window(window)
    outcome = {"code": 0}
    if not debug:
        sys.excepthook = _log_exception
    if screenshot is not None or quit_after:
        _plan_ending(annotator, window, screenshot, quit_after, outcome)
    app.aboutToQuit.connect(annotator.shut_down)
    if path is not None:
        annotator.open_path(path, project_folder=project, curator=curator)
    annotator.ready.connect(set_aside)
    with notification_manager:
        run()
    gc.unfreeze()
    annotator.shut_down()
    unasked.deleteLater()
    return outcome["code"]


def _make_drawable() -> None:
    """Try the display before Qt and OpenGL are loaded, and take EGL where only that works.

    Qt ends the process where it cannot start, and napari's canvas stays black where OpenGL does not work.
    """
    if not sys.platform.startswith("linux") or os.environ.get("QT_QPA_PLATFORM") in ("offscreen", "minimal"):
        return
    trial = display_check.start()
    # meanwhile, what the window needs of napari that touches neither Qt nor OpenGL
    importlib.import_module("napari.layers")
    importlib.import_module("napari.components")
    drawable = display_check.finish(trial)
    if not drawable.works:
        raise EngineError(drawable.message)
    if drawable.environment:
        log.info("OpenGL through EGL: %s", drawable.renderer)
        os.environ.update(drawable.environment)


def set_aside() -> None:
    """Let the garbage collector pass over what the program is made of, once.

    It would look through all of it every now and then, and hold the window up for a quarter of a second.
    """
    if not gc.get_freeze_count():
        gc.freeze()


def fold_napari(viewer: Viewer) -> None:
    """Hide napari's layer list, controls and welcome; the Window menu brings the first two back."""
    from .empty_canvas import EmptyCanvas

    EmptyCanvas(viewer)
    qt_viewer = viewer.window._qt_viewer
    for dock in (qt_viewer.dockLayerList, qt_viewer.dockLayerControls):
        dock.setVisible(False)


def own_menus(annotator: Annotator, window: QMainWindow) -> None:
    """Our menus; napari's come back with *View > napari's menus*, its own status bar stays away."""
    window.statusBar().hide()
    n_theirs = len(window.menuBar().actions())
    menus = annotator.use_menu_bar(window.menuBar())
    there = weakref.ref(window)

    def show_theirs() -> None:
        if (main := there()) is not None:
            for action in main.menuBar().actions()[:n_theirs]:
                action.setVisible(not action.isVisible())

    def close() -> None:
        if (main := there()) is not None:
            main.close()

    thin_separators(annotator.viewer, window)
    menus.add("Project", "Quit", "Close the window; everything is saved", close)
    menus.add("View", "Show or hide napari's menus", "Layers, plugins, preferences of napari", show_theirs)


def thin_separators(viewer: Viewer, window: QMainWindow) -> None:
    """The lines between the docks take 5 px, not napari's 18; napari writes its style anew with every theme."""

    from .binding import is_alive

    there = weakref.ref(window)

    def write() -> None:
        main = there()
        if main is not None and is_alive(main) and _SEPARATORS not in (style := main.styleSheet()):
            main.setStyleSheet(style + _SEPARATORS)

    viewer.events.theme.connect(lambda _event: QTimer.singleShot(0, write))
    write()


class _Unasked(QObject):
    """Turns the window manager's *close* into the program's own, which asks nothing."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take over a close that came from outside."""
        if event.type() != QEvent.Type.Close or not event.spontaneous():
            return False
        event.ignore()
        QTimer.singleShot(0, watched.close)
        return True


def close_unasked(window: QWidget) -> QObject:
    """Let the window close without napari's question: everything is saved. Keep what is returned."""
    unasked = _Unasked()
    window.installEventFilter(unasked)
    # File > Exit and File > Close window (napari has no public switch but the user's own settings)
    window._is_close_dialog = {False: False, True: False}  # type: ignore[attr-defined]
    return unasked


def size_window(window: QWidget) -> None:
    """As large as the screen allows, up to 1720 x 1050, with the frame that the desktop draws around it."""
    room = QApplication.primaryScreen().availableGeometry()
    frame = window.frameGeometry().size() - window.size()
    window.resize(min(1720, room.width() - frame.width()), min(1050, room.height() - frame.height()))
    window.move(room.topLeft())
    if not frame.height():  # the desktop draws it a moment later
        QTimer.singleShot(_FRAME_MS, lambda: keep_inside(window))


def keep_inside(window: QWidget) -> None:
    """Make a window smaller whose frame reaches out of the screen."""
    room = QApplication.primaryScreen().availableGeometry()
    frame = window.frameGeometry()
    too_wide, too_high = max(0, frame.width() - room.width()), max(0, frame.height() - room.height())
    if too_wide or too_high:
        window.resize(window.width() - too_wide, window.height() - too_high)
        window.move(room.topLeft())


def _plan_ending(
    annotator: object, window: QWidget, screenshot: Path | None, quit_after: bool, outcome: dict[str, int]
) -> None:
    limit = QTimer(window)
    limit.setSingleShot(True)
    limit.setInterval(_SCREENSHOT_LIMIT_MS)

    def finish() -> None:
        if screenshot is not None:
            screenshot.parent.mkdir(parents=True, exist_ok=True)
            if not window.grab().save(str(screenshot)):
                print(f"error: cannot write {screenshot}", file=sys.stderr)
                outcome["code"] = 1
        if quit_after:
            window.close()

    def give_up(text: str) -> None:
        print(f"error: {text}", file=sys.stderr)
        outcome["code"] = 1
        if quit_after:
            window.close()

    def ready() -> None:
        if limit.isActive():  # the first project that is shown, not one that is opened after it
            limit.stop()
            # two frames after the news, so that the canvas has drawn what it shows
            QTimer.singleShot(1200, finish)

    annotator.ready.connect(ready)  # type: ignore[attr-defined]
    annotator.failed.connect(give_up)  # type: ignore[attr-defined]
    limit.timeout.connect(lambda: give_up(f"nothing was drawn within {_SCREENSHOT_LIMIT_MS / 60_000:.0f} minutes"))
    limit.start()


def _log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A bug must not take the window down: what was confirmed is in the database."""
    log.error("unexpected", exc_info=(kind, error, trace))
    print(f"error: {kind.__name__}: {error} (details with --debug); everything confirmed is saved", file=sys.stderr)
