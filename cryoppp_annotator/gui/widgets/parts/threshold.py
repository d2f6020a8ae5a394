"""A slider on a histogram of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget

_BINS = 60


class ThresholdSlider(QWidget):
    """Histogram of scores with a line that can be dragged; what is kept (right of it) is bright."""

    changed = Signal(float)
    released = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.value: float | None = None
        self._suggestion: float | None = None
        self._counts: NDArray[np.float64] = np.zeros(0)
        self._range = (0.0, 1.0)
        self.setMinimumHeight(48)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.SizeHorCursor)
        self.setToolTip(
            "Drag: undecided picks right of the line are above the threshold; the dashed line is the suggested one"
        )

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, 48)

    def set_scores(self, scores: NDArray[np.float64]) -> None:
        """Show the distribution of scores (n,); extreme ones are drawn at the ends."""
        finite = scores[np.isfinite(scores)]
        if not len(finite):
            self._counts, self.value = np.zeros(0), None
            self.update()
            return
        low, high = np.percentile(finite, [0.2, 99.8])
        if not high > low:
            low, high = float(finite.min()) - 0.5, float(finite.max()) + 0.5
        self._range = (float(low), float(high))
        self._counts = np.histogram(np.clip(finite, low, high), bins=_BINS, range=self._range)[0].astype(float)
        if self.value is None:
            self.value = float(np.median(finite))
        self.update()

    def set_value(self, value: float) -> None:
        """Move the line without telling anybody."""
        self.value = value
        self.update()

    def set_suggestion(self, value: float | None) -> None:
        """Draw a dashed line where a threshold is suggested; None = nowhere."""
        self._suggestion = value
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take the line."""
        self._move_to(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move the line."""
        self._move_to(event)

    def mouseReleaseEvent(self, _event: QMouseEvent) -> None:
        """Let go of the line."""
        self.released.emit()

    def _move_to(self, event: QMouseEvent) -> None:
        if not len(self._counts):
            return
        share = min(1.0, max(0.0, event.pos().x() / max(1, self.width() - 1)))
        self.value = self._range[0] + share * (self._range[1] - self._range[0])
        self.update()
        self.changed.emit(self.value)

    def paintEvent(self, _event: object) -> None:
        """Paint."""
        painter = QPainter(self)
        if not len(self._counts) or self.value is None:
            painter.setPen(QPen(QColor("#8A9099")))
            painter.drawText(self.rect(), int(Qt.AlignmentFlag.AlignCenter), "No scores yet")
            painter.end()
            return
        width, height = self.width(), self.height() - 14
        bar = width / len(self._counts)
        # the square root keeps small bins visible beside tall ones
        tall = np.sqrt(self._counts / max(self._counts.max(), 1.0)) * (height - 2)
        low, high = self._range
        at = (self.value - low) / (high - low) * width
        for k, h in enumerate(tall.tolist()):
            kept = (k + 0.5) * bar >= at
            painter.fillRect(
                QRectF(k * bar, height - h, max(1.0, bar - 1), h), QColor("#4C9BE8" if kept else "#6B7078")
            )
        if self._suggestion is not None:
            suggested = (self._suggestion - low) / (high - low) * width
            painter.setPen(QPen(self.palette().text().color(), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(suggested, 0), QPointF(suggested, height))
        painter.setPen(QPen(QColor("#F0C33C"), 2))
        painter.drawLine(QPointF(at, 0), QPointF(at, height))
        painter.setPen(QPen(self.palette().text().color()))
        painter.drawText(QRectF(0, height, width, 14), int(Qt.AlignmentFlag.AlignLeft), f"{low:.3g}")
        painter.drawText(QRectF(0, height, width, 14), int(Qt.AlignmentFlag.AlignRight), f"{high:.3g}")
        painter.end()
