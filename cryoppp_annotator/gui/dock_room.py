"""Room for our docks beside napari's own: napari gives each of a side a third, however little it needs."""

from __future__ import annotations

from collections.abc import Sequence

from napari import Viewer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QDockWidget

from .binding import is_alive

#: Share of the height of its side that the list of micrographs gets.
_SHARE = 0.55


def give_room(viewer: Viewer, dock: QDockWidget) -> None:
    """Let a dock have most of its side, once it is laid out; napari's docks there share the rest."""
    QTimer.singleShot(0, lambda: _give_room(viewer, dock))


def _give_room(viewer: Viewer, dock: QDockWidget) -> None:
    if not is_alive(dock):
        return  # the project was closed meanwhile
    window = viewer.window._qt_window
    qt_viewer = viewer.window._qt_viewer
    own: Sequence[QDockWidget] = (qt_viewer.dockLayerControls, qt_viewer.dockLayerList)
    shown = [other for other in own if other.isVisible()]
    if not shown:
        return
    height = window.centralWidget().height()
    rest = round(height * (1 - _SHARE) / len(shown))
    window.resizeDocks([*shown, dock], [*[rest] * len(shown), round(height * _SHARE)], Qt.Orientation.Vertical)
