"""Tiles of a gallery: a picture in a frame whose colour, dashes and mark say what is decided."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import QItemSelection, QItemSelectionModel, QModelIndex, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetrics, QImage, QKeyEvent, QPainter, QPen, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from ....model.classes import ClassSummary
from ....model.curation import Decision
from ...keys import has_keyboard
from ...layers.styles import HEX
from ...models.class_table import TILE, ClassTable, Tile

#: Tiles are dark on either theme: their pictures and the colours of decisions are made for it.
_CARD = QColor("#16191D")
_TEXT = QColor("#E6E9EE")
_FAINT = QColor("#8B929C")
_WHITE = QColor("#FFFFFF")
#: Space around a tile, px.
_PAD = 3
#: Width of its frame, px.
_FRAME = 3
#: Opacity of a picture that is rejected, or would be.
_DULL = 0.42


def colour_of(decision: Decision | None) -> QColor:
    """Colour of a decision; grey for some of each."""
    return _FAINT if decision is None else QColor(HEX[decision])


def draw_picture(painter: QPainter, image: QImage | None, box: QRectF, *, dull: bool = False) -> None:
    """Draw a picture into a square; an empty one while there is none."""
    painter.fillRect(box, QColor("#23272D"))
    if image is None:
        return
    painter.setOpacity(_DULL if dull else 1.0)
    painter.drawImage(box, image)
    painter.setOpacity(1.0)


def draw_frame(painter: QPainter, box: QRectF, decision: Decision | None) -> None:
    """Frame a picture: solid where accepted, thin where undecided, dashed where rejected."""
    pen = QPen(colour_of(decision), _FRAME if decision is Decision.ACCEPTED else 2)
    if decision is Decision.REJECTED:
        pen.setStyle(Qt.PenStyle.DashLine)
    elif decision is Decision.UNDECIDED:
        pen.setWidthF(1.2)
    elif decision is None:
        pen.setStyle(Qt.PenStyle.DotLine)
    painter.setPen(pen)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    inset = pen.widthF() / 2
    painter.drawRect(box.adjusted(inset, inset, -inset, -inset))


def draw_mark(painter: QPainter, centre: QPointF, radius: float, decision: Decision, *, hollow: bool = False) -> None:
    """Draw a tick or a cross in a disc; ``hollow`` = only suggested."""
    colour = colour_of(decision)
    painter.setPen(QPen(colour, 1.6, Qt.PenStyle.DotLine if hollow else Qt.PenStyle.SolidLine))
    painter.setBrush(QColor(12, 14, 17, 215) if hollow else colour)
    painter.drawEllipse(centre, radius, radius)
    stroke = colour if hollow else QColor("#0C0E11")
    painter.setPen(QPen(stroke, 2.2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    r, x, y = 0.5 * radius, centre.x(), centre.y()
    if decision is Decision.ACCEPTED:
        painter.drawPolyline([QPointF(x - r, y), QPointF(x - 0.25 * r, y + 0.8 * r), QPointF(x + r, y - 0.8 * r)])
    else:
        painter.drawLine(QPointF(x - 0.8 * r, y - 0.8 * r), QPointF(x + 0.8 * r, y + 0.8 * r))
        painter.drawLine(QPointF(x - 0.8 * r, y + 0.8 * r), QPointF(x + 0.8 * r, y - 0.8 * r))


class TileDelegate(QStyledItemDelegate):
    """Draws tiles as wide as the view has set.

    Parameters
    ----------
    parent : QWidget
    n_lines : int
        Lines of text below the picture.
    """

    def __init__(self, parent: QWidget, n_lines: int) -> None:
        super().__init__(parent)
        self.width = 112
        self._n_lines = n_lines
        self.font = QFont(parent.font())
        if self.font.pointSizeF() > 0:
            self.font.setPointSizeF(max(7.0, self.font.pointSizeF() - 1.5))
        self.line = QFontMetrics(self.font).height()

    def sizeHint(self, _option: QStyleOptionViewItem, _index: QModelIndex) -> QSize:
        """All tiles are of one size."""
        return QSize(self.width, self.width + self._n_lines * self.line + (6 if self._n_lines else 0))

    def begin(self, painter: QPainter, option: QStyleOptionViewItem) -> tuple[QRectF, QRectF]:
        """Draw the card; returns the square of the picture and the room for the text."""
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        card = QRectF(option.rect).adjusted(1, 1, -1, -1)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setFont(self.font)
        painter.fillRect(card, _CARD)
        if selected:
            painter.fillRect(card, QColor(255, 255, 255, 46))
            painter.setPen(QPen(_WHITE, 2))
            painter.drawRect(card.adjusted(1, 1, -1, -1))
        elif option.state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(_FAINT, 1, Qt.PenStyle.DotLine))
            painter.drawRect(card.adjusted(0.5, 0.5, -0.5, -0.5))
        side = card.width() - 2 * _PAD - 2
        box = QRectF(card.x() + _PAD + 1, card.y() + _PAD + 1, side, side)
        text = QRectF(box.x(), box.bottom() + 2, side, card.bottom() - box.bottom() - 3)
        return box, text


def short(n: int) -> str:
    """A count in at most four characters: ``998``, ``9.7k``, ``97k``."""
    return f"{n}" if n < 1000 else f"{n / 1000:.1f}k" if n < 9950 else f"{n / 1000:.0f}k"


def captions(item: ClassSummary) -> tuple[str, ...]:
    """What is said below an average, the longest first: quality and resolution, or what kind it is."""
    if item.kind != "structure":
        return (item.kind,)
    quality = "" if math.isnan(item.quality) else f"{item.quality:.2f}"
    detail = "" if math.isnan(item.resolution_A) else f"{item.resolution_A:.0f} Å"
    if quality and detail:
        return f"q {quality} · {detail}", f"{quality} · {detail}", detail
    return (f"q {quality}" if quality else detail,)


def _longest_that_fits(texts: Sequence[str], metrics: QFontMetrics, room: int) -> str:
    fitting = [text for text in texts if metrics.horizontalAdvance(text) <= room]
    return fitting[0] if fitting else metrics.elidedText(texts[-1], Qt.TextElideMode.ElideRight, room)


class ClassDelegate(TileDelegate):
    """Draws a class: average, decision, suggestion, counts, quality and resolution."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, 2)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint one class."""
        tile: Tile = index.data(TILE)
        painter.save()
        box, text = self.begin(painter, option)
        rejected = tile.state is Decision.REJECTED
        dull = rejected or (tile.suggestion is Decision.REJECTED and tile.state is not Decision.ACCEPTED)
        draw_picture(painter, tile.image, box, dull=dull)
        if not tile.live:
            draw_frame(painter, box, tile.state)
            self._marks(painter, tile, box)
        if tile.marked:
            painter.setPen(QPen(_WHITE, 2, Qt.PenStyle.DotLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(box.adjusted(5, 5, -5, -5))
            self._pill(painter, f"{tile.marked:,} chosen", box)
        self._bar(painter, tile, QRectF(box.x(), box.bottom() + 1, box.width(), 3))
        self._write(painter, tile, text.adjusted(0, 3, 0, 0))
        painter.restore()

    def _marks(self, painter: QPainter, tile: Tile, box: QRectF) -> None:
        radius = max(7.0, min(10.0, box.width() / 11))
        if tile.state in (Decision.ACCEPTED, Decision.REJECTED):
            draw_mark(painter, box.topLeft() + QPointF(radius + 4, radius + 4), radius, tile.state)
        if tile.open_suggestion is not Decision.UNDECIDED:
            at = box.topRight() + QPointF(-radius - 4, radius + 4)
            draw_mark(painter, at, radius, tile.open_suggestion, hollow=True)

    def _pill(self, painter: QPainter, text: str, box: QRectF) -> None:
        metrics = QFontMetrics(self.font)
        room = QRectF(0, 0, metrics.horizontalAdvance(text) + 8, self.line)
        room.moveBottomLeft(box.bottomLeft() + QPointF(6, -6))
        painter.fillRect(room, QColor(12, 14, 17, 215))
        painter.setPen(_WHITE)
        painter.drawText(room, Qt.AlignmentFlag.AlignCenter, text)

    @staticmethod
    def _bar(painter: QPainter, tile: Tile, box: QRectF) -> None:
        """How many are accepted, undecided and rejected, as shares of a bar."""
        undecided, accepted, rejected = tile.counts
        total = undecided + accepted + rejected
        if not total or tile.live:
            return
        left = box.x()
        for n, decision in (
            (accepted, Decision.ACCEPTED),
            (undecided, Decision.UNDECIDED),
            (rejected, Decision.REJECTED),
        ):
            width = box.width() * n / total
            painter.fillRect(QRectF(left, box.y(), width, box.height()), QColor(HEX[decision]))
            left += width

    def _write(self, painter: QPainter, tile: Tile, box: QRectF) -> None:
        undecided, accepted, rejected = tile.counts
        upper = QRectF(box.x(), box.y(), box.width(), self.line)
        lower = upper.translated(0, self.line)
        start = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        end = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if tile.live:
            painter.setPen(_TEXT)
            painter.drawText(upper, start, f"~{tile.summary.count:,}")
            return
        metrics = QFontMetrics(self.font)
        counts = [
            (n, decision)  # the bar says what there is none of, and the row is narrow
            for n, decision in (
                (accepted, Decision.ACCEPTED),
                (undecided, Decision.UNDECIDED),
                (rejected, Decision.REJECTED),
            )
            if n
        ]
        gap = round(metrics.horizontalAdvance(" ") * 1.6)
        wide = sum(metrics.horizontalAdvance(f"{n:,}") + gap for n, _decision in counts) - gap
        write = short if wide > box.width() else "{:,}".format
        left = upper.x()
        for n, decision in counts:
            painter.setPen(QColor(HEX[decision]))
            word = write(n)
            painter.drawText(QRectF(left, upper.y(), upper.right() - left, upper.height()), start, word)
            left += metrics.horizontalAdvance(word) + gap
        item = tile.summary
        caption = _longest_that_fits(captions(item), metrics, int(box.width()))
        painter.setPen(_FAINT)
        painter.drawText(lower, start, caption)
        if metrics.horizontalAdvance(f"{caption}  {item.number}") < box.width():
            painter.drawText(lower, end, f"{item.number}")


class TileView(QListView):
    """Tiles in rows that fill the width; arrows, Shift and Ctrl work as in every list."""

    opened = Signal(QModelIndex)  # double click or Enter
    seen = Signal()  # other tiles are in sight

    def __init__(self, columns_at_least: int, least_width: int) -> None:
        super().__init__()
        self._columns, self._least_width = columns_at_least, least_width
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setUniformItemSizes(True)
        self.setSpacing(0)
        self.setWrapping(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setMouseTracking(True)
        self.verticalScrollBar().valueChanged.connect(lambda _value: self.seen.emit())

    def resizeEvent(self, event: object) -> None:
        """Make the tiles fill the width."""
        self.fit()
        super().resizeEvent(event)
        self.seen.emit()

    def fit(self) -> None:
        """Give the delegate the width of a tile."""
        delegate = self.itemDelegate()
        if not isinstance(delegate, TileDelegate):
            return
        room = self.viewport().width() - 2
        width = max(40, room // self._in_a_row())
        if width != delegate.width:
            delegate.width = width
            self.scheduleDelayedItemsLayout()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """With Ctrl: more and smaller tiles, or fewer and larger ones."""
        if not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().wheelEvent(event)
            return
        step = -1 if event.angleDelta().y() > 0 else 1
        self._columns = max(1, min(10, self._in_a_row() + step))
        self._least_width = max(40, (self.viewport().width() - 2) // self._columns)
        self.fit()
        self.seen.emit()

    def _in_a_row(self) -> int:
        room = self.viewport().width() - 2
        return max(self._columns, room // self._least_width)

    def has_keyboard(self) -> bool:
        """Whether keys are for it."""
        return has_keyboard(self)

    def rows_in_sight(self, *, ahead: int = 0) -> range:
        """Rows that are drawn, and so many screens of them ahead."""
        model = self.model()
        n = 0 if model is None else model.rowCount()
        if not n:
            return range(0)
        size = self.itemDelegate().sizeHint(QStyleOptionViewItem(), self.rootIndex())
        columns = max(1, (self.viewport().width() - 2) // max(1, size.width()))
        first = self.verticalScrollBar().value() // max(1, size.height()) * columns
        lines = self.viewport().height() // max(1, size.height()) + 2
        return range(max(0, min(first, n)), min(n, first + lines * columns * (1 + ahead)))

    def chosen_rows(self) -> list[int]:
        """Rows that are selected, in order."""
        return sorted(index.row() for index in self.selectionModel().selectedIndexes())

    def choose_rows(self, rows: Sequence[int]) -> None:
        """Select rows instead of what is selected."""
        model, selection = self.model(), QItemSelection()
        for row in rows:
            index = model.index(row, 0)
            selection.select(index, index)
        self.selectionModel().select(selection, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if rows:
            self.selectionModel().setCurrentIndex(model.index(rows[0], 0), QItemSelectionModel.SelectionFlag.NoUpdate)
            self.scrollTo(model.index(rows[0], 0))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter opens; letters are not a search."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentIndex().isValid():
                self.opened.emit(self.currentIndex())
            return
        if event.text() and event.text().isprintable() and not event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            event.ignore()
            return
        super().keyPressEvent(event)


class ClassGallery(TileView):
    """The averages of a run.

    Parameters
    ----------
    model : ClassTable
    """

    chosen_changed = Signal()

    def __init__(self, model: ClassTable) -> None:
        super().__init__(4, 62)  # an average has 64 px
        self.classes = model
        self._keep: list[int] = []
        self.setItemDelegate(ClassDelegate(self))
        self.setModel(model)
        self.setToolTip("")
        model.modelAboutToBeReset.connect(self._on_reset)
        model.modelReset.connect(self._after_reset)
        self.selectionModel().selectionChanged.connect(lambda _new, _old: self.chosen_changed.emit())
        self.doubleClicked.connect(self.opened.emit)

    def chosen(self) -> list[int]:
        """Numbers of the chosen classes."""
        if self.classes.is_live:
            return []
        return [self.classes.numbers[row] for row in self.chosen_rows()]

    def invert(self) -> None:
        """Choose the classes that are not chosen, instead of those that are."""
        chosen = set(self.chosen())
        self.choose([number for number in self.classes.numbers if number not in chosen])

    def choose(self, numbers: Sequence[int]) -> None:
        """Choose classes by number."""
        self.choose_rows([row for row in map(self.classes.row_of, numbers) if row >= 0])

    def _on_reset(self) -> None:
        self._keep = self.chosen()

    def _after_reset(self) -> None:
        if self._keep and not self.classes.is_live:
            self.choose(self._keep)
        self.chosen_changed.emit()
