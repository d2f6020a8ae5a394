"""What gestures draw over the canvas while they last: a lasso, a rectangle, a moved ring, the brush, a short text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import QEvent, QObject, QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QBrush, QColor, QFont, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QWidget

Point = tuple[float, float]


class Overlay(QWidget):
    """Transparent to the mouse, as large as the canvas; hidden while there is nothing to draw.

    Parameters
    ----------
    canvas : QWidget
        The widget napari draws in.
    """

    resized = Signal()  # the canvas is about to change its size

    def __init__(self, canvas: QWidget) -> None:
        super().__init__(canvas)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._polygon: list[Point] = []
        self._closed = True
        self._circles: list[tuple[float, float, float]] = []
        self._label = ""
        self._text = ""
        self._question = ""
        #: Puts the keys that a person chose into what is written.
        self.keyed: Callable[[str], str] = str
        #: Called when the pointer leaves the canvas.
        self.on_left: Callable[[], None] = lambda: None
        self._mark: tuple[float, float, float] | None = None
        canvas.installEventFilter(self)
        self.setGeometry(canvas.rect())
        self.hide()

    @property
    def text(self) -> str:
        """What is written on the canvas."""
        return self.keyed(self._question or self._text)

    def draw(
        self,
        polygon: Sequence[Point] = (),
        circles: Sequence[tuple[float, float, float]] = (),
        label: str = "",
    ) -> None:
        """Draw a polygon, circles ``(x, y, radius)`` and a label at the first circle, canvas px."""
        self._polygon, self._circles, self._label = list(polygon), list(circles), label
        self._refresh()

    def clear(self) -> None:
        """Draw no gesture."""
        self.draw()

    def write(self, text: str) -> None:
        """Write lines on the upper part of the canvas; empty takes them away."""
        if text != self._text:
            self._text = text
            self._refresh()

    def ask(self, text: str) -> None:
        """Write what the next gesture is for, instead of the other lines; empty takes it away."""
        if text != self._question:
            self._question = text
            self._refresh()

    def mark(self, circle: tuple[float, float, float] | None) -> None:
        """Mark the pick under the pointer, ``(x, y, radius)`` in canvas px; None takes the mark away."""
        if circle != self._mark:
            self._mark = circle
            self._refresh()

    def _refresh(self) -> None:
        drawn = bool(self._polygon or self._circles or self.text or self._mark)
        self.setVisible(drawn)
        if drawn:
            self.raise_()
            self.update()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay as large as the canvas, and see the pointer leave it."""
        if event.type() == QEvent.Type.Leave:
            self.on_left()
        if event.type() == QEvent.Type.Resize and isinstance(watched, QWidget):
            self.setGeometry(watched.rect())
            self.resized.emit()
        return False

    def paintEvent(self, _event: object) -> None:
        """Paint."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._mark is not None and not self._circles:
            x, y, r = self._mark
            painter.setPen(QPen(QColor("#FFFFFF"), 1.4, Qt.PenStyle.DotLine))
            painter.drawEllipse(QPointF(x, y), r + 4, r + 4)
        painter.setPen(QPen(QColor("#FFFFFF"), 1.6, Qt.PenStyle.DashLine))
        painter.setBrush(QBrush(QColor(255, 255, 255, 28)))
        if len(self._polygon) > 1:
            painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in self._polygon]))
        for x, y, r in self._circles:
            painter.drawEllipse(QPointF(x, y), r, r)
        if self._label and self._circles:
            x, y, r = self._circles[0]
            self._paint_text(painter, self._label, QPointF(x + r + 8, y), 11)
        if self.text:
            self._paint_text(painter, self.text, None, 12)
        painter.end()

    def _paint_text(self, painter: QPainter, text: str, at: QPointF | None, points: int) -> None:
        font = QFont(self.font())
        font.setPointSize(points)
        painter.setFont(font)
        flags = Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextWordWrap
        room = QRectF(0, 0, max(120.0, self.width() - 48.0), 400)
        box = painter.boundingRect(room, int(flags), text)
        if at is None:
            at = QPointF((self.width() - box.width()) / 2, 24)
        box.moveTopLeft(at)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QBrush(QColor(10, 14, 20, 190)))
        painter.drawRoundedRect(box.adjusted(-12, -8, 12, 8), 6, 6)
        painter.setPen(QPen(QColor("#F2F4F7")))
        painter.drawText(box, int(flags), text)
