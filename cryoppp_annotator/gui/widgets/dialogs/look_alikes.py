"""A page of look-alikes of the queue: click the exceptions, one answer for the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ....audit.suspects import ErrorKind
from ....session.review.error_queue import Answer, Review
from ....session.review.queue_crops import cut_places
from ....session.review.review_item import ReviewItem
from ...workbench import Workbench

_TILE = 84
#: What most of a page are, if the model is right.
_LIKELY = {
    ErrorKind.FALSE: Answer.REJECT,
    ErrorKind.DOUBLE: Answer.REJECT,
    ErrorKind.MISSING: Answer.ACCEPT,
    ErrorKind.MOVED: Answer.MOVE,
    ErrorKind.GAP: Answer.ACCEPT,
}
_SAID = {Answer.ACCEPT: "are particles", Answer.REJECT: "are no particles", Answer.MOVE: "are moved to their particles"}


class LookAlikes(QDialog):
    """Items of one kind side by side.

    Parameters
    ----------
    bench : Workbench
    review : Review
    numbers : sequence of int
        Of the items; a gap alone shows its places.
    parent : QWidget
    """

    answered = Signal()

    def __init__(self, bench: Workbench, review: Review, numbers: Sequence[int], parent: QWidget) -> None:
        super().__init__(parent)
        self._bench, self._review, self._numbers = bench, review, list(numbers)
        self._closed = False
        first = review.items[self._numbers[0]]
        self._is_gap = first.kind is ErrorKind.GAP
        self._shown = _places_of(first) if self._is_gap else [review.items[n] for n in self._numbers]
        self.setWindowTitle(f"{len(self._shown)} look-alikes: {first.kind.value}")
        unlikely = Answer.REJECT if first.kind is ErrorKind.MISSING else Answer.ACCEPT
        self.likely = _LIKELY[first.kind] if first.likely or self._is_gap else unlikely
        hint = QLabel(
            f"{first.reason} {_one_answer(first)}"
            if self._is_gap
            else "Click the exceptions: they get the other answer. Enter answers the page; it is one step."
        )
        hint.setWordWrap(True)
        self.tiles = QListWidget()
        self.tiles.setViewMode(QListWidget.ViewMode.IconMode)
        self.tiles.setIconSize(QSize(_TILE, _TILE))
        self.tiles.setGridSize(QSize(_TILE + 8, _TILE + 8))
        self.tiles.setMovement(QListWidget.Movement.Static)
        self.tiles.setResizeMode(QListWidget.ResizeMode.Adjust)
        mode = QAbstractItemView.SelectionMode
        self.tiles.setSelectionMode(mode.NoSelection if self._is_gap else mode.MultiSelection)
        for _ in self._shown:
            self.tiles.addItem(QListWidgetItem("…"))
        buttons = QDialogButtonBox()
        self.yes = QPushButton(f"The others {_SAID[self.likely]}" if not self._is_gap else "These are particles")
        self.no = QPushButton("These are no particles", self)
        self.no.setVisible(self._is_gap)
        self.yes.setDefault(True)
        buttons.addButton(self.yes, QDialogButtonBox.ButtonRole.AcceptRole)
        if self._is_gap:  # a box of buttons shows all that are in it
            buttons.addButton(self.no, QDialogButtonBox.ButtonRole.DestructiveRole)
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        layout = QVBoxLayout(self)
        for widget in (hint, self.tiles, buttons):
            layout.addWidget(widget)
        self.resize(8 * (_TILE + 8) + 60, 5 * (_TILE + 8) + 110)
        self.yes.clicked.connect(lambda: self._answer(self.likely))
        self.no.clicked.connect(lambda: self._answer(Answer.REJECT))
        buttons.rejected.connect(self.reject)
        self.finished.connect(self._on_finished)
        bench.closing.connect(self.reject)
        session, shown = bench.session, self._shown
        bench.start(
            lambda context: cut_places(session, shown, context),
            title="cut pictures of look-alikes",
            on_done=self._on_pictures,
            quiet=True,
        )

    def _on_finished(self) -> None:
        self._closed = True

    def _on_pictures(self, pictures: Sequence[np.ndarray | None]) -> None:
        if self._closed:
            return
        for row, picture in enumerate(pictures):
            tile = self.tiles.item(row)
            if picture is None:
                tile.setText("no picture")
                continue
            grey = np.ascontiguousarray(picture)
            image = QImage(grey.data, grey.shape[1], grey.shape[0], grey.shape[1], QImage.Format.Format_Grayscale8)
            scaled = QPixmap.fromImage(image.copy()).scaled(
                _TILE, _TILE, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
            )
            tile.setText("")
            tile.setIcon(QIcon(scaled))
            tile.setToolTip(f"{self._bench.session.micrograph(self._shown[row].micrograph).name}")

    def _answer(self, answer: Answer) -> None:
        rows = [] if self._is_gap else [self.tiles.row(tile) for tile in self.tiles.selectedItems()]
        exceptions = [self._numbers[row] for row in rows]
        if self._bench.guarded(lambda: self._bench.say(self._review.answer_page(self._numbers, exceptions, answer))):
            self.accept()
            self.answered.emit()


#: Places of a gap that are shown; the most typical come first.
_SHOWN = 40


def _one_answer(gap: ReviewItem) -> str:
    n = len(gap.members)
    return "One answer for all of them." if n <= _SHOWN else f"The {_SHOWN} most typical; one answer for all {n:,}."


def _places_of(gap: ReviewItem) -> list[ReviewItem]:
    """The first places of a gap as items."""
    return [
        ReviewItem(micrograph, 0, x, y, float("nan"), float("nan"), ErrorKind.MISSING, gap.probability)
        for micrograph, x, y in gap.members[:_SHOWN]
    ]
