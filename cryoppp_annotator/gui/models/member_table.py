"""The picks of a class as a Qt model; pictures are asked for when they come into sight."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt
from qtpy.QtGui import QImage

from ...model.curation import Decision
from ...session.classes.browse import RunMembers
from ..layers.styles import WORDS
from .class_table import TILE, as_image

#: Pictures kept, 64 px each: 20 MB.
_KEPT = 5000


@dataclass(frozen=True, eq=False)
class MemberTile:
    """What is drawn of one pick."""

    particle: int
    image: QImage | None
    decision: Decision
    why_not: str = ""


class MemberTable(QAbstractListModel):
    """Rows are picks of some classes, the surest or the least sure first."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: NDArray[np.int64] = np.zeros(0, np.int64)
        self._members: RunMembers | None = None
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)
        self._images: OrderedDict[int, QImage] = OrderedDict()
        self._failed: dict[int, str] = {}
        self._names: dict[int, str] = {}

    def show_members(self, members: RunMembers, rows: NDArray[np.intp], names: dict[int, str]) -> None:
        """Show rows (n,) of a run's membership; ``names`` are those of the micrographs."""
        self.beginResetModel()
        self._members, self._rows, self._names = members, rows, names
        self.ids = members.particle[rows]
        self.endResetModel()

    def forget_pictures(self) -> None:
        """The picks' pictures are not what they were (moved, another diameter)."""
        self._images.clear()
        self._failed.clear()
        self.tell()

    def add_pictures(self, ids: NDArray[np.int64], greys: NDArray[np.uint8]) -> None:
        """Pictures (m, s, s) uint8 of picks, ids (m,), have come."""
        for particle, grey in zip(ids.tolist(), greys, strict=True):
            self._images[particle] = as_image(grey)
        while len(self._images) > _KEPT:
            self._images.popitem(last=False)
        self.tell()

    def add_failures(self, failed: dict[int, str]) -> None:
        """Picks that have no picture, and why."""
        self._failed.update(failed)
        self.tell()

    def missing(self, rows: range) -> NDArray[np.int64]:
        """Picks among ``rows`` that have no picture yet."""
        absent = [i for i in self.ids[rows.start : rows.stop].tolist() if i not in self._images]
        return np.array([i for i in absent if i not in self._failed], np.int64)

    def decision(self, row: int) -> Decision:
        """What is decided about a pick; UNDECIDED where it was deleted."""
        if self._members is None:
            return Decision.UNDECIDED
        return Decision(max(0, int(self._members.decision[self._rows[row]])))

    def micrograph(self, row: int) -> int:
        """Micrograph of a pick."""
        assert self._members is not None
        return int(self._members.micrograph[self._rows[row]])

    def tell(self) -> None:
        """Draw all rows again."""
        if len(self.ids):
            self.dataChanged.emit(self.index(0), self.index(len(self.ids) - 1))

    # ------------------------------------------------------------------ Qt

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Rows shown."""
        return 0 if parent is not None and parent.isValid() else len(self.ids)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One pick."""
        if not index.isValid():
            return None
        row = index.row()
        particle = int(self.ids[row])
        if role == TILE:
            return MemberTile(particle, self._images.get(particle), self.decision(row), self._failed.get(particle, ""))
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._tooltip(row, particle)
        return None

    def _tooltip(self, row: int, particle: int) -> str:
        assert self._members is not None
        sure = float(self._members.posterior[self._rows[row]])
        lines = [f"{self._names.get(self.micrograph(row), '')}: {WORDS[self.decision(row)]}"]
        if np.isfinite(sure):
            lines.append(f"belongs to class {int(self._members.number[self._rows[row]])} with {100 * sure:.0f} %")
        if particle in self._failed:
            lines.append(f"no picture: {self._failed[particle]}")
        lines.append("click: reject or restore · double click: go there")
        return "\n".join(lines)
