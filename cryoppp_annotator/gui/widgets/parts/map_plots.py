"""Small figures of a run in 3D: correlation of the halves, distribution of views, slices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from ....reconstruct.fsc import THRESHOLD
from ....session.classes.browse import as_greys

_BLUE = "#4C9BE8"
_YELLOW = "#F0C33C"
_RED = "#E4572E"
_GREY = "#8A9099"
#: More dots than these hide each other.
_MOST_DOTS = 4000
#: Iterations of Newton's method for the angle of Mollweide's projection: it converges in four nearly everywhere.
_NEWTON = 8


class _Figure(QWidget):
    """A figure that fills its room; a click asks for a larger one."""

    opened = Signal()

    def __init__(self, height: int) -> None:
        super().__init__()
        self._height = height
        self.setMinimumSize(80, round(0.6 * height))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMaximumHeight(4 * height)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(140, self._height)

    def mouseReleaseEvent(self, _event: QMouseEvent) -> None:
        """Ask for a larger one."""
        self.opened.emit()

    def _say(self, painter: QPainter, text: str) -> None:
        painter.setPen(QColor(_GREY))
        painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap), text)


class FscPlot(_Figure):
    """Correlation of the half maps over resolution."""

    def __init__(self, height: int = 96) -> None:
        super().__init__(height)
        self.curves: Mapping[str, NDArray[np.float64]] = {}
        self._lowpass_A: float | None = None
        self.setToolTip(
            "Agreement of the two half maps over detail (Fourier shell correlation): blue, corrected for the mask; "
            "grey, without a mask; red, with randomised phases. Shaded: what the reference had. Dashed: 0.143"
        )

    def show_curves(self, curves: Mapping[str, NDArray[np.float64]], lowpass_A: float | None = None) -> None:
        """Show the curves of a run; empty = none. What is coarser than ``lowpass_A`` both halves were given."""
        self.curves, self._lowpass_A = curves, lowpass_A
        self.update()

    def paintEvent(self, _event: object) -> None:
        """Paint."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if not self.curves:
            self._say(painter, "No half maps")
            painter.end()
            return
        room = QRectF(22, 4, self.width() - 28, self.height() - 20)
        frequency = 1.0 / self.curves["period_A"][1:]
        finest = float(frequency[-1])

        def place(k: float, value: float) -> QPointF:
            return QPointF(room.left() + k / finest * room.width(), room.bottom() - max(value, -0.1) * room.height())

        if self._lowpass_A:
            shade = QColor(_GREY)
            shade.setAlpha(50)
            width = min(1.0, 1.0 / self._lowpass_A / finest) * room.width()
            painter.fillRect(QRectF(room.left(), room.top(), width, room.height()), shade)
        painter.setPen(QPen(self.palette().text().color(), 1))
        painter.drawRect(room)
        painter.setPen(QPen(QColor(_YELLOW), 1, Qt.PenStyle.DashLine))
        painter.drawLine(place(0.0, THRESHOLD), place(finest, THRESHOLD))
        for name, colour, width_px in (("random", _RED, 1.0), ("unmasked", _GREY, 1.0), ("corrected", _BLUE, 2.0)):
            painter.setPen(QPen(QColor(colour), width_px))
            values = self.curves[name][1:]
            painter.drawPolyline(QPolygonF([place(float(k), float(v)) for k, v in zip(frequency, values, strict=True)]))
        self._label(painter, room, finest)
        painter.end()

    def _label(self, painter: QPainter, room: QRectF, finest: float) -> None:
        painter.setPen(self.palette().text().color())
        small = painter.font()
        small.setPixelSize(10)
        painter.setFont(small)
        for value in (0, 1):
            y = room.bottom() - value * room.height()
            painter.drawText(QRectF(0, y - 7, 18, 14), int(Qt.AlignmentFlag.AlignRight), str(value))
        for share in (0.5, 1.0):
            text = f"{1.0 / (share * finest):.0f} Å"
            x = room.left() + share * room.width()
            painter.drawText(QRectF(x - 44, room.bottom() + 2, 44, 14), int(Qt.AlignmentFlag.AlignRight), text)


def mollweide(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions (n, 3) on Mollweide's map of the sphere, (n, 2), -1 .. 1 each: equal areas stay equal."""
    latitude = np.arcsin(np.clip(directions[:, 2], -1.0, 1.0))
    longitude = np.arctan2(directions[:, 1], directions[:, 0])
    theta = latitude.copy()
    for _ in range(_NEWTON):
        slope = 2.0 + 2.0 * np.cos(2.0 * theta)
        theta -= (2.0 * theta + np.sin(2.0 * theta) - np.pi * np.sin(latitude)) / np.maximum(slope, 1e-6)
        theta = np.clip(theta, -np.pi / 2, np.pi / 2)
    return np.stack([longitude / np.pi * np.cos(theta), np.sin(theta)], axis=1)


class ViewMap(_Figure):
    """From which sides the particle was seen; those of rejected picks in red."""

    def __init__(self, height: int = 96) -> None:
        super().__init__(height)
        self._dots: NDArray[np.float64] = np.zeros((0, 2))
        self._kept: NDArray[np.bool_] = np.zeros(0, bool)
        self.setToolTip(
            "From which sides the picks show the particle (the sphere in Mollweide's projection, equal areas): blue, "
            "picks that stay; red, rejected ones. An empty region is a view that is missing"
        )

    def show_views(self, directions: NDArray[np.float64], kept: NDArray[np.bool_]) -> None:
        """Show directions (n, 3) and which of the picks (n,) stay."""
        step = max(1, len(directions) // _MOST_DOTS)
        self._dots, self._kept = mollweide(directions[::step]), kept[::step]
        self.update()

    def paintEvent(self, _event: object) -> None:
        """Paint."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if not len(self._dots):
            self._say(painter, "No poses are known")
            painter.end()
            return
        width = min(self.width() - 8.0, 2.0 * (self.height() - 8.0))
        room = QRectF((self.width() - width) / 2, (self.height() - width / 2) / 2, width, width / 2)
        painter.setPen(QPen(QColor(_GREY), 1))
        painter.drawEllipse(room)
        painter.drawLine(QPointF(room.left(), room.center().y()), QPointF(room.right(), room.center().y()))
        radius = max(1.0, width / 180.0)
        for kept, colour in ((True, _BLUE), (False, _RED)):
            ink = QColor(colour)
            ink.setAlpha(150)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(ink)
            for x, y in self._dots[self._kept == kept].tolist():
                place = QPointF(room.center().x() + x * room.width() / 2, room.center().y() - y * room.height() / 2)
                painter.drawEllipse(place, radius, radius)
        painter.end()


class SliceStrip(_Figure):
    """Central slices of a map along its three axes."""

    def __init__(self, height: int = 80) -> None:
        super().__init__(height)
        self._pictures: Sequence[QPixmap] = ()
        self.setToolTip("Slices through the middle of the map, along z, y and x; a click shows it in 3D")

    def show_map(self, volume: NDArray[np.float32] | None) -> None:
        """Show a map (n, n, n), zyx; None = nothing."""
        if volume is None:
            self._pictures = ()
        else:
            middle = len(volume) // 2
            self._pictures = [_pixmap(section) for section in (volume[middle], volume[:, middle], volume[:, :, middle])]
        self.update()

    def paintEvent(self, _event: object) -> None:
        """Paint."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        if not self._pictures:
            self._say(painter, "No map yet")
        side = min(self.height(), (self.width() - 8) // 3)
        left = (self.width() - 3 * side - 8) // 2
        for k, picture in enumerate(self._pictures):
            painter.drawPixmap(left + k * (side + 4), (self.height() - side) // 2, side, side, picture)
        painter.end()


def _pixmap(section: NDArray[Any]) -> QPixmap:
    grey = np.ascontiguousarray(as_greys(section[None])[0])
    height, width = grey.shape
    image = QImage(grey.tobytes(), width, height, width, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image.copy())


def surface_level(volume: NDArray[np.float32]) -> float:
    """A level of a map (n, n, n), zyx, whose surface shows the particle and little noise."""
    top = float(np.percentile(volume, 99.8))
    return top / 3.0 if math.isfinite(top) and top > 0 else float(volume.max()) / 2.0
