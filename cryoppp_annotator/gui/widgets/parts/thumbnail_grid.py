"""The micrographs side by side, sorted by any number, with their picks; a click shows one."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from qtpy.QtCore import QModelIndex, QObject, QPointF, QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QListView,
    QSizePolicy,
    QStyleOptionViewItem,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ....batch import passport_project
from ....batch.passport import COLUMNS
from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.curation import Decision, Table
from ....session.core.session import Announcement
from ....session.pictures import thumbnails
from ....session.pictures.thumbnails import Thumbnail
from ...latest import Latest
from ...models.class_table import TILE
from ...models.thumbnail_table import MicrographTile, ThumbnailTable, drawn_picture, fitted
from ...workbench import Workbench
from .gallery_tiles import TileDelegate, TileView, draw_mark

_BY_LIST = "order of the list"
_SUGGESTED = QColor("#e69f00")
_CURRENT = QColor("white")
_FAINT = QColor("#8B929C")
_TEXT = QColor("#E6E9EE")
#: Opacity of what a range leaves out.
_DIMMED = 0.25


class _Post(QObject):
    """Carries thumbnails from the job's thread to the window."""

    arrived = Signal(int, int, object)  # which asking it answers, micrograph, thumbnail


class _Delegate(TileDelegate):
    """Draws a micrograph: its picture with rings, its number, what is said of it."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, 1)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint one micrograph."""
        tile: MicrographTile = index.data(TILE)
        painter.save()
        box, text = self.begin(painter, option)
        painter.fillRect(box, QColor("#23272D"))
        painter.setOpacity(_DIMMED if tile.dimmed or tile.unusable else 1.0)
        if tile.image is not None:
            painter.drawImage(fitted(tile.image, box), tile.image)
        elif tile.why_not:
            painter.setPen(_FAINT)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, "no picture")
        painter.setOpacity(1.0)
        self._frame(painter, tile, box)
        painter.setPen(_FAINT if tile.dimmed or tile.unusable else _TEXT)
        caption = tile.value or tile.name
        mode = Qt.TextElideMode.ElideRight if tile.value else Qt.TextElideMode.ElideLeft
        line = painter.fontMetrics().elidedText(caption, mode, int(text.width()))
        painter.drawText(text, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter, line)
        painter.restore()

    @staticmethod
    def _frame(painter: QPainter, tile: MicrographTile, box: QRectF) -> None:
        """White where it is on the screen, orange where it seems unusable, a cross where it is marked so."""
        if tile.current or tile.suggestion:
            painter.setPen(QPen(_CURRENT if tile.current else _SUGGESTED, 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(box.adjusted(1, 1, -1, -1))
        if tile.suggestion:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(_SUGGESTED)
            painter.drawEllipse(box.topRight() + QPointF(-9, 9), 4.5, 4.5)
        if tile.unusable:
            draw_mark(painter, box.topLeft() + QPointF(11, 11), 7.0, Decision.REJECTED)


class _View(TileView):
    """Tiles of micrographs: a click or Enter shows one."""

    def __init__(self, model: ThumbnailTable) -> None:
        super().__init__(3, 96)
        self.setItemDelegate(_Delegate(self))
        self.setModel(model)
        self.setSelectionMode(QListView.SelectionMode.SingleSelection)
        self.setMinimumHeight(96)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Thumbnails of the micrographs")


class ThumbnailGrid(QWidget):
    """Thumbnails of all micrographs.

    Parameters
    ----------
    bench : Workbench
    """

    chosen = Signal(int)

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench, self._session, self._latest = bench, bench.session, Latest()
        self._rows: Mapping[int, Mapping[str, Any]] = {}
        self._as = self._drawn_as()
        self._job: Job | None = None
        self._post = _Post()
        self.model = ThumbnailTable()
        self.view = _View(self.model)
        self.by, self.way = QComboBox(), QToolButton()
        self.by.addItem(_BY_LIST, "")
        for name in passport_project.NUMBERS:
            self.by.addItem(passport_project.TITLES[name], name)
        self.by.setToolTip("The number by which thumbnails are sorted; it stands below each")
        self.by.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.way.setCheckable(True)
        self.way.setToolTip("Largest first, or smallest first; what is not known comes last")
        self._show_way(False)
        layout, top = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        label = QLabel("Sort by")
        label.setBuddy(self.by)
        top.addWidget(label)
        top.addWidget(self.by, 1)
        top.addWidget(self.way)
        layout.addLayout(top)
        layout.addWidget(self.view, 1)
        # pictures are asked for when scrolling pauses
        self._ask = QTimer(self)
        self._ask.setSingleShot(True)
        self._ask.setInterval(60)
        self._ask.timeout.connect(self._ask_for_pictures)
        self._post.arrived.connect(self._on_picture)
        self.by.currentIndexChanged.connect(self.arrange)
        self.way.toggled.connect(self._show_way)
        self.way.toggled.connect(self.arrange)
        self.view.seen.connect(self._ask.start)
        self.view.clicked.connect(self._on_chosen)
        self.view.opened.connect(self._on_chosen)
        bench.session.changed.connect(self._on_changed)
        bench.view_changed.connect(self._on_drawn)
        bench.focus.drawn.threshold_changed.connect(self._on_drawn)
        bench.focus.drawn.changed.connect(self._on_drawn)
        self.arrange()

    def close_panel(self) -> None:
        """Stop."""
        self._latest.close()
        self._ask.stop()
        if self._job is not None:
            self._job.cancel()
        self._session.changed.disconnect(self._on_changed)
        self._bench.view_changed.disconnect(self._on_drawn)
        self._bench.focus.drawn.threshold_changed.disconnect(self._on_drawn)
        self._bench.focus.drawn.changed.disconnect(self._on_drawn)

    def showEvent(self, event: object) -> None:
        """Pictures are made while it is looked at."""
        super().showEvent(event)
        self._ask.start()

    # ------------------------------------------------------------------ order

    def show_rows(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Numbers of micrographs by id; those that have none come last."""
        self._rows = rows
        self.arrange()

    def show_numbers(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Other numbers of the same micrographs: nothing moves while somebody picks."""
        self._rows = rows
        self._show_values()

    def show_marks(self, dimmed: Collection[int], suggestions: Mapping[int, str], unusable: Collection[int]) -> None:
        """What a range leaves out, what seems unusable, what is marked so."""
        self.model.show_marks(dimmed, unusable, suggestions, self._session.current_id)

    def arrange(self, *_what: object) -> None:
        """Sort again, from the top."""
        name = self.by.currentData()
        micrographs = list(self._session.micrographs)
        numbers = {m.id: self._number(m.id, name) for m in micrographs}
        sign = -1.0 if self.way.isChecked() else 1.0
        if name:
            micrographs.sort(key=lambda m: (math.isnan(numbers[m.id]), sign * numbers[m.id]))
        elif self.way.isChecked():
            micrographs.reverse()
        self.model.show_order([m.id for m in micrographs], {m.id: m.name for m in micrographs})
        self._show_values()
        self.view.scrollToTop()
        self._ask.start()

    def _show_values(self) -> None:
        name = self.by.currentData()
        numbers = {i: self._number(i, name) for i in self.model.ids} if name else {}
        self.model.show_values({i: "?" if math.isnan(v) else format(v, COLUMNS[name]) for i, v in numbers.items()})

    def _number(self, micrograph: int, name: str) -> float:
        value = self._rows.get(micrograph, {}).get(name) if name else None
        return math.nan if value is None else float(value)

    def _show_way(self, largest_first: bool) -> None:
        self.way.setText("↓" if largest_first else "↑")

    # ------------------------------------------------------------------ pictures

    def _on_changed(self, announcement: Announcement) -> None:
        change = announcement.change
        everywhere = change is None or any(delta.table is Table.SETTING for delta in change.deltas)
        if announcement.touches(Table.MICROGRAPH) and {m.id for m in self._session.micrographs} != set(self.model.ids):
            self.arrange()
        if everywhere:
            self._forget(None)
        elif announcement.touches(Table.PARTICLE):
            assert change is not None
            touched = {i for delta in change.deltas if delta.table is Table.PARTICLE for i in delta.micrograph.tolist()}
            self._forget(touched)

    def _drawn_as(self) -> tuple[object, ...]:
        """What the rings of all micrographs depend on, besides the picks."""
        drawn = self._bench.focus.drawn
        return self._bench.viewport.up, drawn.of_bulk(drawn.hidden())

    def _on_drawn(self, *_what: object) -> None:
        if self._drawn_as() != self._as:
            self._forget(None)

    def _forget(self, micrographs: Collection[int] | None) -> None:
        """Picks are not what they were: pictures are made again, from the cache, when they are looked at."""
        self._latest.forget()
        self._as = self._drawn_as()
        self.model.make_again(micrographs)
        self._ask.start()

    def _ask_for_pictures(self) -> None:
        if not self.isVisible():
            return
        missing = self.model.missing(self.view.rows_in_sight(ahead=1))
        if self._job is not None and not self._job.over:
            self._job.cancel()
        if not missing or not self._latest.ask():
            return
        session, drawn, post, asked = self._session, self._bench.focus.drawn, self._post, self._latest.number
        which = drawn.of_bulk(drawn.hidden())

        def hand_on(number: int, thumbnail: Thumbnail) -> None:
            post.arrived.emit(asked, number, thumbnail)

        def work(context: JobContext) -> dict[int, str]:
            failed = thumbnails.make_thumbnails(session, missing, which, hand_on, context=context)
            thumbnails.trim(session)
            return failed

        self._job = self._bench.start(
            work,
            title="make thumbnails",
            quiet=True,
            on_done=self._latest.only(self.model.add_failures),
            on_failed=self._bench.job_failed,
        )

    def _on_picture(self, asked: int, number: int, thumbnail: Thumbnail) -> None:
        if self._latest.holds(asked):
            on_top = self._bench.viewport.up == "down"
            self.model.add_picture(number, drawn_picture(thumbnail, row_0_on_top=on_top))

    def _on_chosen(self, index: QModelIndex) -> None:
        self.chosen.emit(self.model.ids[index.row()])
