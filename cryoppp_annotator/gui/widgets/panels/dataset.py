"""The data set at a glance: particles of every micrograph, sorted, outliers marked; a click goes there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPen
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from ....model.curation import Decision
from ....model.micrograph import Micrograph
from ....session.core.edits import count_of
from ...layers.styles import HEX

#: So many robust standard deviations from the median is an outlier.
_FAR = 3.5
#: A robust standard deviation is at least this share of the median.
_LEAST_SPREAD = 0.05


def outliers(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which counts (n,) stand out from the rest, (n,) bool; those of micrographs without picks (0) do not count."""
    some = counts[counts > 0]
    if len(some) < 5:
        return np.zeros(len(counts), bool)
    # counts: the square root makes their spread alike
    root, middle = np.sqrt(counts), float(np.median(np.sqrt(some)))
    spread = max(1.4826 * float(np.median(np.abs(np.sqrt(some) - middle))), _LEAST_SPREAD * middle)
    return np.asarray((np.abs(root - middle) > _FAR * spread) & (counts > 0))


class DatasetPlot(QWidget):
    """Accepted picks and candidates above the threshold of every micrograph, most first."""

    chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[int] = []
        self.counts: NDArray[np.float64] = np.zeros((0, 2))
        self.marked: NDArray[np.bool_] = np.zeros(0, bool)
        self._names: dict[int, str] = {}
        self._current: int | None = None
        self.setMinimumHeight(56)
        self.setMouseTracking(True)
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        # else a small window grows, and the micrograph with it, in the middle of a gesture
        policy.setRetainSizeWhenHidden(True)
        self.setSizePolicy(policy)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, 64)

    def show_counts(self, micrographs: list[Micrograph], above: Mapping[int, int] | None, current: int | None) -> None:
        """Show accepted picks and undecided ones (those above the threshold, where there is one)."""
        usable = [m for m in micrographs if not m.problem]
        rows = [(m.n_accepted, m.n_undecided if above is None else above.get(m.id, 0)) for m in usable]
        counts = np.array(rows, float).reshape(-1, 2)
        order = np.argsort(-counts.sum(axis=1), kind="stable")
        self.ids = [usable[i].id for i in order.tolist()]
        self._names = {m.id: m.name for m in usable}
        self.counts = counts[order]
        self.marked = outliers(self.counts.sum(axis=1))
        self._current = current
        self.setVisible(len(self.ids) > 1 and bool(self.counts.sum()))
        self.update()

    def text(self) -> str:
        """A few words: the median, and how many stand out."""
        total = self.counts.sum(axis=1)
        if not len(total):
            return ""
        n = int(self.marked.sum())
        return f"median {np.median(total):,.0f}" + (f" · {count_of(n, 'outlier')}" if n else " picks")

    def sentence(self) -> str:
        """The same for a tooltip."""
        if not len(self.counts):
            return ""
        median = f"The median is {np.median(self.counts.sum(axis=1)):,.0f} accepted and undecided picks a micrograph"
        n = int(self.marked.sum())
        return median + (f"; {count_of(n, 'outlier')} marked below the bars" if n else "")

    def _row_at(self, x: float) -> int:
        return min(len(self.ids) - 1, max(0, int(x / max(1, self.width()) * len(self.ids))))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the micrograph under the pointer."""
        if self.ids:
            self.chosen.emit(self.ids[self._row_at(event.pos().x())])

    def event(self, event: QEvent) -> bool:
        """Say which micrograph is under the pointer."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent) and self.ids:
            row = self._row_at(event.pos().x())
            accepted, undecided = self.counts[row].astype(int).tolist()
            far = "\nstands out from the rest" if self.marked[row] else ""
            text = (
                f"{self._names[self.ids[row]]}\n{accepted:,} accepted, {undecided:,} undecided{far}\nclick goes there"
            )
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return bool(super().event(event))

    def paintEvent(self, _event: object) -> None:
        """Paint."""
        if not self.ids:
            return
        painter = QPainter(self)
        width, height = self.width(), self.height() - 8
        total = self.counts.sum(axis=1)
        scale = height / max(1.0, float(total.max()))
        # no more bars than pixels: of several micrographs in one the tallest is drawn, and a mark is never lost
        n = len(self.ids)
        step = width / n
        blue, yellow = QColor(HEX[Decision.ACCEPTED]), QColor(HEX[Decision.UNDECIDED])
        for k in range(0, n, max(1, n // max(1, width))):
            accepted, undecided = self.counts[k].tolist()
            wide = max(1.0, step - (1 if step > 3 else 0))
            painter.fillRect(QRectF(k * step, height - accepted * scale, wide, accepted * scale), blue)
            top = (accepted + undecided) * scale
            painter.fillRect(QRectF(k * step, height - top, wide, undecided * scale), yellow)
        painter.setPen(QPen(QColor(HEX[Decision.REJECTED]), 2))
        for k in np.flatnonzero(self.marked).tolist():
            x = (k + 0.5) * step
            painter.drawLine(QPointF(x, height + 2), QPointF(x, height + 8))
        if self._current in self.ids:
            painter.setPen(QPen(self.palette().text().color(), 1))
            x = (self.ids.index(self._current) + 0.5) * step
            painter.drawLine(QPointF(x, 0), QPointF(x, height + 8))
        painter.end()
