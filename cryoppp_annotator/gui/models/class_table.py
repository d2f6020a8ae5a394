"""The classes of a run as a Qt model: one row a class, sorted, with what is decided and suggested."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt
from qtpy.QtGui import QImage

from ...model.classes import ClassSummary
from ...model.curation import Decision
from ...session.classes.browse import SortBy, order_of, state_of, suggestion_of
from ...session.core.edits import count_of
from ..layers.styles import WORDS

#: Role under which a row gives its :class:`Tile`.
TILE = int(Qt.ItemDataRole.UserRole) + 1


@dataclass(frozen=True, eq=False)
class Tile:
    """What is drawn of one class.

    Attributes
    ----------
    summary : ClassSummary
    image : QImage
    counts : (undecided, accepted, rejected)
    state : Decision or None
        What is decided; None = some of each.
    suggestion : Decision
    marked : int
        Picks of it that are selected on the canvas.
    live : bool
        The run goes on: the average is not the last, and nothing can be decided.
    """

    summary: ClassSummary
    image: QImage
    counts: tuple[int, int, int]
    state: Decision | None
    suggestion: Decision
    marked: int = 0
    live: bool = False

    @property
    def open_suggestion(self) -> Decision:
        """The suggestion where it is not what was decided, else UNDECIDED."""
        return Decision.UNDECIDED if self.suggestion is self.state else self.suggestion


def as_image(grey: NDArray[np.uint8]) -> QImage:
    """A picture (h, w) uint8 that Qt can draw."""
    grey = np.ascontiguousarray(grey)
    h, w = grey.shape
    return QImage(grey.data, w, h, w, QImage.Format.Format_Grayscale8).copy()


class ClassTable(QAbstractListModel):
    """Rows are the classes of one run, in the chosen order."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self._tiles: dict[int, Tile] = {}
        self._by = SortBy.DOUBT
        self._ascending = False
        self._threshold: float | None = None

    # ------------------------------------------------------------------ filling

    def clear(self) -> None:
        """Show nothing."""
        self._fill({}, [])

    def show_run(self, summaries: Sequence[ClassSummary], greys: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
        """Show a finished run: summaries in the order of their numbers, (n, s, s) uint8 pictures, (n, 3) counts."""
        tiles = {}
        for item in summaries:
            k = item.number - 1
            decided = _triple(counts[k])
            suggested = suggestion_of(item, self._threshold)
            tiles[item.number] = Tile(item, as_image(greys[k]), decided, state_of(decided), suggested)
        self._fill(tiles, self._order(summaries))

    def show_preview(self, greys: NDArray[np.uint8], share: NDArray[np.float64], n_picks: int) -> None:
        """Show the averages of a run that goes on, (n, s, s) uint8 and shares (n,) of the picks; the largest first."""
        tiles = {}
        for k, part in enumerate(share.tolist()):
            item = ClassSummary(k + 1, round(part * n_picks), part)
            tiles[k + 1] = Tile(
                item, as_image(greys[k]), (item.count, 0, 0), Decision.UNDECIDED, Decision.UNDECIDED, live=True
            )
        order = (1 + np.argsort(-share, kind="stable")).tolist()
        if len(order) == len(self.numbers) and self.is_live:
            # the same rows with other pictures: what was scrolled to stays
            self._tiles, self.numbers = tiles, order
            self._tell()
        else:
            self._fill(tiles, order)

    def _fill(self, tiles: dict[int, Tile], numbers: list[int]) -> None:
        self.beginResetModel()
        self._tiles, self.numbers = tiles, numbers
        self.endResetModel()

    @property
    def is_live(self) -> bool:
        """Whether a run that goes on is shown."""
        return any(tile.live for tile in self._tiles.values())

    # ------------------------------------------------------------------ following

    def set_counts(self, counts: NDArray[np.int64]) -> None:
        """Show what is decided now, (n_classes, 3): undecided, accepted, rejected."""
        for number, tile in self._tiles.items():
            decided = _triple(counts[number - 1])
            if decided != tile.counts:
                self._tiles[number] = replace(tile, counts=decided, state=state_of(decided))
        self._tell()

    def set_marked(self, marked: Mapping[int, int]) -> None:
        """Mark the classes of picks that are selected on the canvas: number of the class -> picks."""
        for number, tile in self._tiles.items():
            if tile.marked != marked.get(number, 0):
                self._tiles[number] = replace(tile, marked=marked.get(number, 0))
        self._tell()

    def set_threshold(self, threshold: float | None) -> None:
        """Suggest by a quality, or (None) as the program does."""
        self._threshold = threshold
        for number, tile in self._tiles.items():
            self._tiles[number] = replace(tile, suggestion=suggestion_of(tile.summary, threshold))
        self._tell()

    def sort_by(self, by: SortBy, *, ascending: bool = False) -> None:
        """Choose the order."""
        self._by, self._ascending = by, ascending
        if not self.is_live:
            self._fill(self._tiles, self._order([t.summary for t in self._tiles.values()]))

    def _order(self, summaries: Sequence[ClassSummary]) -> list[int]:
        return order_of(summaries, self._by, ascending=self._ascending, threshold=self._threshold)

    def _tell(self) -> None:
        if self.numbers:
            self.dataChanged.emit(self.index(0), self.index(len(self.numbers) - 1))

    # ------------------------------------------------------------------ asking

    def tile(self, number: int) -> Tile:
        """What is drawn of a class. Raises KeyError."""
        return self._tiles[number]

    def row_of(self, number: int) -> int:
        """Row of a class, -1 where it is not shown."""
        return self.numbers.index(number) if number in self.numbers else -1

    def suggested(self, decision: Decision) -> list[int]:
        """Numbers of the shown classes for which a decision is suggested that is not there yet."""
        return [n for n in self.numbers if self._tiles[n].open_suggestion is decision]

    # ------------------------------------------------------------------ Qt

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Rows shown."""
        return 0 if parent is not None and parent.isValid() else len(self.numbers)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """One class."""
        if not index.isValid():
            return None
        tile = self._tiles[self.numbers[index.row()]]
        if role == TILE:
            return tile
        if role == Qt.ItemDataRole.ToolTipRole:
            return tooltip(tile)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return tooltip(tile).replace("\n", ", ")
        return None


def _triple(counts: NDArray[np.int64]) -> tuple[int, int, int]:
    undecided, accepted, rejected = counts.tolist()
    return undecided, accepted, rejected


def tooltip(tile: Tile) -> str:
    """All that is known of a class, in words."""
    item, (undecided, accepted, rejected) = tile.summary, tile.counts
    if tile.live:
        return f"about {count_of(item.count)}; the run goes on"
    lines = [
        f"class {item.number}: {count_of(sum(tile.counts))} ({100 * item.share:.1f} % when classified)",
        f"{accepted:,} accepted, {undecided:,} undecided, {rejected:,} rejected",
    ]
    if not math.isnan(item.quality):
        lines.append(f"quality {item.quality:.2f} of 1")
    if not math.isnan(item.resolution_A):
        lines.append(f"resolution {item.resolution_A:.1f} Å")
    if not math.isnan(item.posterior):
        lines.append(f"members belong here with {100 * item.posterior:.0f} % on average")
    if not math.isnan(item.offset_px):
        lines.append(f"centred within {item.offset_px:.1f} px of the average")
    if not math.isnan(item.spread):
        lines.append(f"spread over micrographs {100 * item.spread:.0f} % of what is expected")
    if item.note:
        lines.append(item.note)
    if tile.open_suggestion is not Decision.UNDECIDED:
        verb = "accept" if tile.open_suggestion is Decision.ACCEPTED else "reject"
        lines.append(f"suggested: {verb}")
    elif tile.state is not None and tile.state is not Decision.UNDECIDED:
        lines.append(f"decided: {WORDS[tile.state]}")
    return "\n".join(lines)
