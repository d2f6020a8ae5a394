"""The application and a card that says that the window is coming: there before napari is loaded."""

from __future__ import annotations

import sys
from importlib.metadata import version

from qtpy.QtCore import QRect, Qt
from qtpy.QtGui import QColor, QPainter, QPixmap
from qtpy.QtWidgets import QApplication, QSplashScreen

#: Size of the card, px.
_WIDTH = 420
_HEIGHT = 150
_CARD, _TEXT, _FAINT = QColor("#22242C"), QColor("#E6E9EE"), QColor("#8B929C")
#: Colours of accepted, undecided and rejected picks.
_RINGS = (QColor("#4C9BE8"), QColor("#F0C33C"), QColor("#E4572E"))
#: What napari sets before it makes an application itself; Qt 6 does both unasked.
_SHARP = ("AA_EnableHighDpiScaling", "AA_UseHighDpiPixmaps")


def application() -> QApplication:
    """The one application; made here it is there a second before napari's own would be."""
    if (running := QApplication.instance()) is not None:
        return running
    for name in _SHARP:
        if hasattr(Qt.ApplicationAttribute, name):
            QApplication.setAttribute(getattr(Qt.ApplicationAttribute, name))
    app = QApplication(sys.argv[:1])
    app.setApplicationName("cryoppp-annotator")
    return app


class Splash(QSplashScreen):
    """A card in the middle of the screen; it stays below windows that a person opens meanwhile."""

    def __init__(self) -> None:
        super().__init__(_card())

    def say(self, text: str) -> None:
        """What is being loaded."""
        self.showMessage(f"  {text}\n", int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignBottom), _FAINT)
        QApplication.processEvents()


def _card() -> QPixmap:
    pixels = QPixmap(_WIDTH, _HEIGHT)
    pixels.fill(_CARD)
    painter = QPainter(pixels)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for k, colour in enumerate(_RINGS):
        pen = painter.pen()
        pen.setColor(colour)
        pen.setWidth(3)
        painter.setPen(pen)
        painter.drawEllipse(24 + 22 * k, 34, 32, 32)
    font = painter.font()
    font.setPointSize(17)
    painter.setFont(font)
    painter.setPen(_TEXT)
    painter.drawText(QRect(122, 24, _WIDTH - 130, 36), Qt.AlignmentFlag.AlignVCenter, "CryoPPP Annotator")
    font.setPointSize(10)
    painter.setFont(font)
    painter.setPen(_FAINT)
    painter.drawText(QRect(122, 58, _WIDTH - 130, 20), Qt.AlignmentFlag.AlignVCenter, version("cryoppp-annotator"))
    painter.end()
    return pixels
