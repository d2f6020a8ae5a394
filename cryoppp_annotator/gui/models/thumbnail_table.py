"""Micrographs as a Qt model of thumbnails; pictures are asked for when they come into sight."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen

from ...model.curation import Decision
from ...session.pictures.thumbnails import Thumbnail
from ..layers.styles import HEX
from .class_table import TILE, as_image

#: Pictures kept, about 100 kB each.
_KEPT = 1000
#: Least radius of a ring, px of the picture.
_LEAST_RING = 2.0


@dataclass(frozen=True, eq=False)
class MicrographTile:
    """What is drawn of one micrograph.

    Attributes
    ----------
    image : QImage or None
        With its rings; None while it is made.
    name, value : str
        The caption.
    dimmed : bool
        A range leaves it out.
    unusable : bool
        It is marked so.
    suggestion : str
        Why it seems unusable; empty where nothing says so.
    current : bool
        It is on the screen.
    why_not : str
        Why it has no picture.
    """

    image: QImage | None
    name: str
    value: str = ""
    dimmed: bool = False
    unusable: bool = False
    suggestion: str = ""
    current: bool = False
    why_not: str = ""


def drawn_picture(thumbnail: Thumbnail, *, row_0_on_top: bool) -> QImage:
    """A thumbnail with its rings, the way up in which the micrograph is shown."""
    image = as_image(thumbnail.grey).convertToFormat(QImage.Format.Format_RGB32)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    scale = 1.0 / thumbnail.step
    rows = zip(thumbnail.x, thumbnail.y, thumbnail.diameter_px, thumbnail.accepted, strict=True)
    for x, y, diameter, accepted in rows:
        painter.setPen(QPen(QColor(HEX[Decision.ACCEPTED if accepted else Decision.UNDECIDED]), 1.2))
        radius = max(_LEAST_RING, 0.5 * float(diameter) * scale)
        # pixel 0 of the picture is centred on pixel 0 of the micrograph, which Qt has at 0.5
        painter.drawEllipse(QPointF(float(x) * scale + 0.5, float(y) * scale + 0.5), radius, radius)
    painter.end()
    return image if row_0_on_top else image.mirrored(False, True)


class ThumbnailTable(QAbstractListModel):
    """Rows are micrographs in the chosen order."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[int] = []
        self._names: Mapping[int, str] = {}
        self._values: Mapping[int, str] = {}
        self._suggestions: Mapping[int, str] = {}
        self._dimmed: Collection[int] = ()
        self._unusable: Collection[int] = ()
        self._current: int | None = None
        self._images: OrderedDict[int, QImage] = OrderedDict()
        self._failed: dict[int, str] = {}
        #: Pictures whose rings are not what they were; they are drawn until the new ones come.
        self._stale: set[int] = set()

    def show_order(self, ids: Sequence[int], names: Mapping[int, str]) -> None:
        """Show micrographs in this order."""
        self.beginResetModel()
        self.ids, self._names = list(ids), names
        self.endResetModel()

    def show_values(self, values: Mapping[int, str]) -> None:
        """What stands below each picture."""
        self._values = values
        self.tell()

    def show_marks(
        self, dimmed: Collection[int], unusable: Collection[int], suggestions: Mapping[int, str], current: int | None
    ) -> None:
        """Which are left out by a range, marked unusable, suggested, on the screen."""
        self._dimmed, self._unusable, self._suggestions, self._current = dimmed, unusable, suggestions, current
        self.tell()

    def add_picture(self, number: int, image: QImage) -> None:
        """A picture has come."""
        self._images[number] = image
        self._images.move_to_end(number)
        self._stale.discard(number)
        while len(self._images) > _KEPT:
            self._images.popitem(last=False)
        if number in self.ids:
            row = self.ids.index(number)
            self.dataChanged.emit(self.index(row), self.index(row))

    def add_failures(self, failed: Mapping[int, str]) -> None:
        """Micrographs that have no picture, and why."""
        self._failed.update(failed)
        self.tell()

    def make_again(self, numbers: Collection[int] | None = None) -> None:
        """Pictures are not what they were, of some micrographs or (None) of all."""
        chosen = set(self._images) | set(self._failed) if numbers is None else set(numbers)
        self._stale |= chosen & set(self._images)
        for number in chosen:
            self._failed.pop(number, None)

    def missing(self, rows: range) -> list[int]:
        """Micrographs among ``rows`` whose picture is to be made."""
        present = (self._images.keys() - self._stale) | self._failed.keys()
        return [i for i in self.ids[rows.start : rows.stop] if i not in present]

    def tell(self) -> None:
        """Draw all rows again."""
        if self.ids:
            self.dataChanged.emit(self.index(0), self.index(len(self.ids) - 1))

    # ------------------------------------------------------------------ Qt

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Rows shown."""
        return 0 if parent is not None and parent.isValid() else len(self.ids)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One micrograph."""
        if not index.isValid():
            return None
        number = self.ids[index.row()]
        if role == TILE:
            return MicrographTile(
                self._images.get(number),
                self._names.get(number, ""),
                self._values.get(number, ""),
                number in self._dimmed,
                number in self._unusable,
                self._suggestions.get(number, ""),
                number == self._current,
                self._failed.get(number, ""),
            )
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return self._sentence(number)
        return None

    def _sentence(self, number: int) -> str:
        lines = [self._names.get(number, "")]
        if self._suggestions.get(number):
            lines.append(f"seems unusable: {self._suggestions[number]}")
        if number in self._unusable:
            lines.append("marked unusable")
        if number in self._dimmed:
            lines.append("outside a range")
        if number in self._failed:
            lines.append(f"no picture: {self._failed[number]}")
        return "\n".join([*lines, "click: show this micrograph"])


def fitted(image: QImage, box: QRectF) -> QRectF:
    """The largest place in a box that has the picture's shape, in its middle."""
    scale = min(box.width() / max(1, image.width()), box.height() / max(1, image.height()))
    place = QRectF(0, 0, scale * image.width(), scale * image.height())
    place.moveCenter(box.center())
    return place
