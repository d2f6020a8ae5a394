"""What stands where the micrograph will be, while there is none: napari's own page names commands that are not ours."""

from __future__ import annotations

from napari import Viewer
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QLabel

from .binding import is_alive

_TEXT = "Drop a folder of micrographs or a project here,\nor open one on the right."


class EmptyCanvas(QLabel):
    """A line in the middle of the canvas, until there is a layer.

    Parameters
    ----------
    viewer : Viewer
    """

    def __init__(self, viewer: Viewer) -> None:
        qt_viewer = viewer.window._qt_viewer
        qt_viewer.show_welcome_screen = False
        super().__init__(_TEXT, qt_viewer.canvas.native)
        self._layers = viewer.layers
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setStyleSheet("background: transparent; color: #888e98; font-size: 15px;")  # seen on black and white
        self.parent().installEventFilter(self)
        self._layers.events.inserted.connect(self._on_layers)
        self._layers.events.removed.connect(self._on_layers)
        self._on_layers()

    def _on_layers(self) -> None:
        if not is_alive(self):  # the window is closing
            return
        self.setGeometry(self.parent().rect())
        self.setVisible(not self._layers)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """It fills the canvas."""
        if event.type() == QEvent.Type.Resize:
            self.setGeometry(watched.rect())
        return False
