"""Where the annotator's parts stand around napari's canvas, and how they fold."""

from __future__ import annotations

from typing import Any

from napari import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QWidget

#: Names of the docks, as napari's Window menu lists them.
MICROGRAPHS = "Micrographs"
STATUS = "Status"
PICTURE = "Picture"
#: Widths at first: the micrograph keeps at least 60 % of a window of 1280 px.
LIST_WIDTH = 174
PANEL_WIDTH = 298
#: What is left of the micrograph beside a panel that was made wide, px.
LEAST_CANVAS = 220


class Docks:
    """The list on the left, the bar over the picture, the line at the bottom, around the annotator on the right.

    Parameters
    ----------
    viewer : Viewer
    annotator : QWidget
        Stands in a dock of its own.
    own_window : bool
        The window is the program's own: nothing has a title bar, keys and the View menu fold the sides.
    """

    def __init__(self, viewer: Viewer, annotator: QWidget, *, own_window: bool) -> None:
        self._window: Any = viewer.window
        self._main = viewer.window._qt_window
        self._layers = viewer.window._qt_viewer.dockLayerList
        self._annotator, self._bare = annotator, own_window
        self._added: list[QDockWidget] = []
        self._narrow = 0  # width of the panel before it was made wide
        self._corners: dict[Qt.Corner, Qt.DockWidgetArea] = {}

    def add(self, micrographs: QWidget, picture: QWidget, status: QWidget) -> None:
        """Put the parts of an open project into their places."""
        self._corners = {corner: self._main.corner(corner) for corner in _SIDES}
        for corner, side in _SIDES.items():
            self._main.setCorner(corner, side)
        self.micrographs = self._window.add_dock_widget(micrographs, area="left", name=MICROGRAPHS)
        bar = self._window.add_dock_widget(picture, area="top", name=PICTURE)
        line = self._window.add_dock_widget(status, area="bottom", name=STATUS)
        for dock, widget in ((bar, picture), (line, status)):
            dock.setTitleBarWidget(QWidget())  # one line needs no title bar
            dock.setFixedHeight(widget.height())
        self._added = [self.micrographs, bar, line]
        if self._bare:
            self.micrographs.setTitleBarWidget(QWidget())
        else:
            # in napari the list shares its place with the list of layers: one below the other they need 930 px
            self._main.tabifyDockWidget(self._layers, self.micrographs)
            self.micrographs.raise_()
        if (panel := self.panel) is not None and not panel.isFloating():
            if self._bare:
                panel.setTitleBarWidget(QWidget())
            both = [self.micrographs, panel]
            self._main.resizeDocks(both, [LIST_WIDTH, PANEL_WIDTH], Qt.Orientation.Horizontal)

    @property
    def panel(self) -> QDockWidget | None:
        """The dock that the annotator is in."""
        around = self._annotator.parentWidget()
        while around is not None and not isinstance(around, QDockWidget):
            around = around.parentWidget()
        return around

    def fold(self, side: str) -> None:
        """Fold ``"list"`` or ``"panel"`` away, or bring it back."""
        dock = self.micrographs if side == "list" else self.panel
        if dock is not None:
            dock.setVisible(not dock.isVisible())

    def widen(self, wide: bool) -> None:
        """Let the panel take most of the canvas, or give it its width back."""
        panel = self.panel
        if panel is None or panel.isFloating() or wide is (self._narrow > 0):
            return
        width, self._narrow = self._narrow, panel.width() if wide else 0
        if wide:
            width = self._main.width() - self.micrographs.width() - LEAST_CANVAS
        self._main.resizeDocks([panel], [width], Qt.Orientation.Horizontal)

    def remove(self) -> None:
        """Leave the window as it was found."""
        for dock in self._added:
            self._window.remove_dock_widget(dock)
        self._added = []
        for corner, area in self._corners.items():
            self._main.setCorner(corner, area)
        self._corners = {}


#: The sides reach from the menus to the line at the bottom.
_SIDES = {
    Qt.Corner.TopLeftCorner: Qt.DockWidgetArea.LeftDockWidgetArea,
    Qt.Corner.TopRightCorner: Qt.DockWidgetArea.RightDockWidgetArea,
}
