"""Files and folders dropped anywhere in the window: onto the project, never beside it as a stray layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

from .. import extensions
from ..formats.image.images import IMAGE_EXTENSIONS, find_micrographs
from ..store.connecting import DATABASE_NAME
from ..store.connecting import is_project as is_project_folder
from .app_events import AppEvents
from .widgets.panels.class_panel import ClassesPanel
from .workbench import Workbench

_DRAGS = (QEvent.Type.DragEnter, QEvent.Type.DragMove, QEvent.Type.Drop)
#: Files of a dropped folder that are looked at.
_LOOK_AT = 2000
_CLASSES = (".star", ".cs", ".csg", ".mrcs")


class Home(Protocol):
    """What may be done with what is dropped: the annotator."""

    bench: Workbench | None
    own_window: bool

    def open_path(self, path: Path) -> None:
        """Open a folder, a project or an image."""

    def refuse(self, why: str) -> None:
        """Say on the start page why something was not opened."""

    def ask_to_import(self, paths: Sequence[Path]) -> None:
        """Show the import dialog."""

    def import_classes(self, files: Sequence[Path]) -> None:
        """Bring 2D classes in."""


class Drops:
    """Takes what is dropped into a window, wherever in it, before the widget below the pointer does.

    Parameters
    ----------
    window : QWidget
        The main window; its docks may float.
    home : Home
    """

    def __init__(self, window: QWidget, home: Home) -> None:
        self._window, self._home = window, home
        window.setAcceptDrops(True)  # else nothing comes where no widget below the pointer takes any
        AppEvents.instance().listen(_DRAGS, self.on_event)

    def close(self) -> None:
        """Take no more."""
        if QApplication.instance() is not None:
            AppEvents.instance().forget(self.on_event)

    def on_event(self, watched: QObject, event: QEvent) -> bool:
        """Take local files."""
        if not isinstance(watched, QWidget) or not self._is_home(watched.window()):
            return False
        paths = local_paths(event)
        ours = isinstance(self._home, QWidget) and (watched is self._home or self._home.isAncestorOf(watched))
        if not paths or _is_its_own(watched, paths) or not (ours or self.takes(paths)):
            return False
        event.acceptProposedAction()  # type: ignore[attr-defined]
        if event.type() == QEvent.Type.Drop:
            self.drop(paths)
        return True

    def _is_home(self, window: QObject) -> bool:
        return window is self._window or (isinstance(window, QDockWidget) and window.parentWidget() is self._window)

    def takes(self, paths: Sequence[Path]) -> bool:
        """Whether what is dropped beside our panel is ours; napari opens the rest."""
        if self._home.own_window or is_project(paths):
            return True
        return self._home.bench is not None and (are_averages(paths) or may_be_coordinates(paths))

    def drop(self, paths: Sequence[Path]) -> None:
        """Open what is dropped; onto an open project, picks are imported and micrographs added."""
        home = self._home
        if not paths:
            return
        if home.bench is None or is_project(paths):
            why = "" if home.bench is not None else why_not_opened(paths[0])
            if why:
                home.refuse(why)
            else:
                home.open_path(paths[0])
        elif are_averages(paths) and any(home.bench.session.counts().values()):
            home.import_classes(paths)
        elif images := (list(paths) if are_micrographs(paths) else of_images_only(paths)):
            home.bench.watcher.take(images)
        else:
            home.ask_to_import(paths)


def _is_its_own(widget: QWidget, paths: Sequence[Path]) -> bool:
    """Whether files are for the widget that they were dropped on: classes, on their tab."""
    return isinstance(widget, ClassesPanel) and any(path.name.lower().endswith(_CLASSES) for path in paths)


def local_paths(event: Any) -> list[Path]:
    """The files and folders of a drag; none where it carries something else, too."""
    urls = event.mimeData().urls()
    return [Path(url.toLocalFile()) for url in urls] if all(url.isLocalFile() for url in urls) else []


def is_project(paths: Sequence[Path]) -> bool:
    """Whether what was dropped is one project."""
    return len(paths) == 1 and (paths[0].name == DATABASE_NAME or is_project_folder(paths[0]))


def are_averages(paths: Sequence[Path]) -> bool:
    """Whether class averages are among the files: nobody brings picks with those."""
    return any(path.suffix == ".mrcs" for path in paths)


def are_micrographs(paths: Sequence[Path]) -> bool:
    """Whether all are images that can be micrographs."""
    return bool(paths) and all(path.is_file() and path.name.lower().endswith(IMAGE_EXTENSIONS) for path in paths)


def may_be_coordinates(paths: Sequence[Path]) -> bool:
    """Whether all are folders, or have an ending that a coordinate format of ours has."""
    return bool(paths) and all(path.is_dir() or _has_picks(path.name) for path in paths)


def of_images_only(paths: Sequence[Path]) -> list[Path]:
    """The images of folders that hold images and no coordinate file, two levels deep; none of others."""
    if not all(path.is_dir() for path in paths):
        return []
    here = [entry for path in paths for pattern in ("*", "*/*") for entry in islice(path.glob(pattern), _LOOK_AT)]
    if any(_has_picks(entry.name) for entry in here):
        return []
    return [image for path in paths for image in find_micrographs(path)]


def why_not_opened(path: Path) -> str:
    """Why a file cannot be opened where there is no project yet; empty where it may be tried."""
    lists = (".star", ".cs", ".csg", ".txt", ".lst", ".csv")
    if path.is_dir() or path.name.lower().endswith(lists) or not _has_picks(path.name):
        return ""
    return f"{path.name} holds picks: open the folder of its micrographs first, then drop it again"


def _has_picks(name: str) -> bool:
    endings = {e for f in extensions.formats().values() if f.can_read for e in f.extensions}
    return name.lower().endswith(tuple(endings))
