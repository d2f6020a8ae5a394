"""A picture of the views that rejected picks take away: on the sphere, or the class averages that alone show them."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QVBoxLayout

from ....errors import AnnotatorError
from ....session.classes import decide
from ....session.classes.browse import as_greys
from ....session.volume.view_guard import ViewLoss
from ...workbench import Workbench
from ..parts.map_plots import ViewMap

_TILE_PX = 96
_MOST_TILES = 6


class LostViewsDialog(QDialog):
    """Stands beside the work; nothing waits for it.

    Parameters
    ----------
    bench : Workbench
    loss : ViewLoss
    """

    def __init__(self, bench: Workbench, loss: ViewLoss) -> None:
        super().__init__(bench.window)
        self.setWindowTitle("Lost views")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        bench.closing.connect(self.reject)
        self.text = QLabel(f"What is rejected removes a view: {loss.sentence}.")
        self.text.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        if len(loss.directions):
            self.views = ViewMap(260)
            self.views.setMinimumSize(460, 240)
            self.views.show_views(loss.directions, loss.kept)
            layout.addWidget(self.views, 1)
            legend = QLabel("Each dot is the side from which a pick shows the particle: blue stays, red is rejected.")
        else:
            layout.addLayout(_averages(bench, loss))
            legend = QLabel("Averages of the classes that alone show it, as numbered in the Classes tab.")
        legend.setWordWrap(True)
        layout.addWidget(legend)


def _averages(bench: Workbench, loss: ViewLoss) -> QHBoxLayout:
    row = QHBoxLayout()
    try:
        run = decide.list_runs(bench.session)[-1]
        greys = as_greys(decide.load_averages(bench.session, run))
    except (AnnotatorError, IndexError):
        return row
    for number in loss.classes[:_MOST_TILES]:
        grey = greys[number - 1]
        side = len(grey)
        image = QImage(grey.tobytes(), side, side, side, QImage.Format.Format_Grayscale8).copy()
        tile = QLabel()
        tile.setPixmap(QPixmap.fromImage(image).scaled(_TILE_PX, _TILE_PX))
        tile.setToolTip(f"class {number}")
        row.addWidget(tile)
    row.addStretch()
    return row
