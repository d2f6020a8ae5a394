"""A micrograph's picks as a bar under its name: accepted, undecided, rejected."""

from __future__ import annotations

from qtpy.QtCore import QModelIndex, QRectF
from qtpy.QtGui import QColor, QPainter
from qtpy.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from ....model.curation import Decision
from ...layers.styles import HEX
from ...models.micrograph_table import COUNTS_ROLE

_HEIGHT = 3


class CountsBar(QStyledItemDelegate):
    """Draws the cell, and below its text as much of a bar as the micrograph has picks."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint."""
        super().paint(painter, option, index)
        *counts, most = index.data(COUNTS_ROLE)
        room = option.rect
        per_pick = (room.width() - 6) / max(1, most)
        left = float(room.left() + 3)
        for decision, n in zip((Decision.ACCEPTED, Decision.UNDECIDED, Decision.REJECTED), counts, strict=True):
            wide = n * per_pick
            painter.fillRect(QRectF(left, room.bottom() - _HEIGHT + 1, wide, _HEIGHT), QColor(HEX[decision]))
            left += wide
