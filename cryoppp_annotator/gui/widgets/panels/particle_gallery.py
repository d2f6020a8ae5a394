"""The particles of a class, side by side: a click rejects one, a double click goes to it on its micrograph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, QObject, QPointF, QRectF, Qt, QTimer, Signal
from qtpy.QtGui import QMouseEvent, QPainter
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from ....jobs.runner import Job
from ....model.context import JobContext
from ....model.curation import Change, Decision, Reason, Table
from ....session.classes.browse import RunMembers, classes_of, decide_picks
from ....session.classes.crops import cut_crops
from ....session.core.edits import count_of
from ...latest import Latest
from ...models.class_table import TILE
from ...models.member_table import MemberTable, MemberTile
from ...workbench import Workbench
from ..parts.gallery_tiles import TileDelegate, TileView, draw_frame, draw_mark, draw_picture
from ..parts.member_filter import MemberFilter

_BEST = "best first"
_WORST = "worst first"


class _Post(QObject):
    """Carries pictures from the job's thread to the window."""

    arrived = Signal(int, object, object)  # which asking it answers, ids, pictures


class MemberDelegate(TileDelegate):
    """Draws a pick: its picture, framed by what is decided."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent, 0)
        self.width = 88

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Paint one pick."""
        tile: MemberTile = index.data(TILE)
        painter.save()
        box, _ = self.begin(painter, option)
        draw_picture(painter, tile.image, box, dull=tile.decision is Decision.REJECTED)
        if tile.why_not:
            painter.drawText(QRectF(box), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, "no picture")
        draw_frame(painter, box, tile.decision)
        if tile.decision is not Decision.UNDECIDED:
            draw_mark(painter, box.topLeft() + QPointF(11, 11), 7.0, tile.decision)
        painter.restore()


class MemberView(TileView):
    """Crops in rows: a click chooses, a right click rejects, a double click goes there."""

    rejected = Signal(QModelIndex)

    def __init__(self, model: MemberTable) -> None:
        super().__init__(3, 84)
        self.setItemDelegate(MemberDelegate(self))
        self.setModel(model)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """The right button rejects, as on the micrograph."""
        if event.button() == Qt.MouseButton.RightButton:
            if (index := self.indexAt(event.pos())).isValid():
                self.rejected.emit(index)
            return
        super().mousePressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Go there."""
        index = self.indexAt(event.pos())
        if index.isValid() and event.button() == Qt.MouseButton.LeftButton:
            self.opened.emit(index)


class ParticleGallery(QWidget):
    """The picks of one class, or of several.

    Parameters
    ----------
    bench : Workbench
    """

    left = Signal()  # back to the classes

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self._session = bench.session
        self._members: RunMembers | None = None
        self.numbers: list[int] = []
        self._invert = True
        self._latest = Latest()
        self._job: Job | None = None
        self._post = _Post()
        self.model = MemberTable()
        self.view = MemberView(self.model)
        self._post.arrived.connect(self._on_pictures)
        self.back = QPushButton("← Classes")
        bench.keep_keyed(self.back.setToolTip, "Back to the classes ({select-none})")
        bench.on_rekeyed.append(self._show_title)
        self.title = QLabel()
        self.title.setTextFormat(Qt.TextFormat.RichText)
        self.order = QComboBox()
        self.order.addItems([_BEST, _WORST])
        self.order.setToolTip(
            "Best: those that belong to the class most surely. A doubtful class opens with the worst first"
        )
        self._ordered = False  # whether a person has chosen an order
        self.filter = MemberFilter(bench)
        self.filter.changed.connect(self._arrange)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        top = QHBoxLayout()
        top.addWidget(self.back)
        top.addWidget(self.title, 1)
        top.addWidget(self.order)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self.filter)
        layout.addWidget(self.hint)
        layout.addWidget(self.view, 1)
        # pictures are asked for when scrolling pauses
        self._ask = QTimer(self)
        self._ask.setSingleShot(True)
        self._ask.setInterval(40)
        self._ask.timeout.connect(self._ask_for_pictures)
        self.back.clicked.connect(self.leave)
        self.order.activated.connect(lambda _row: self._on_order())
        self.view.seen.connect(self._ask.start)
        self.view.opened.connect(self._on_opened)
        self.view.rejected.connect(self._on_right)

    def close_panel(self) -> None:
        """Stop."""
        self._ask.stop()
        if self._job is not None:
            self._job.cancel()

    def open(
        self, members: RunMembers, numbers: Sequence[int], *, invert: bool, worst_first: bool | None = None
    ) -> None:
        """Show the picks of some classes; in which order, until a person has chosen one (None = as before)."""
        if worst_first is not None and not self._ordered:
            self.order.setCurrentText(_WORST if worst_first else _BEST)
        if invert != self._invert:
            self._forget_pictures()  # they were black on white, or white on black
        self._members, self.numbers, self._invert = members, list(numbers), invert
        self._arrange()
        self.view.setFocus()

    def leave(self) -> None:
        """Back to the classes."""
        if self._job is not None:
            self._job.cancel()
        self.left.emit()

    def follow(self, change: Change | None) -> None:
        """The session changed; the membership knows it already."""
        moved = change is None or any(
            d.table is Table.SETTING or (d.table is Table.PARTICLE and "x" in d.after) for d in change.deltas
        )
        if moved:
            self._forget_pictures()
            self._ask.start()
        else:
            self.model.tell()
        self._show_title()

    def _on_order(self) -> None:
        self._ordered = True
        self._arrange()

    def _arrange(self) -> None:
        if self._members is None:
            return
        rows = self._members.ranked(self.numbers, best_first=self.order.currentText() == _BEST)
        rows = self.filter.let_through(self._members, rows)
        names = {m.id: m.name for m in self._session.micrographs}
        self.model.show_members(self._members, rows, names)
        self.view.scrollToTop()
        self._show_title()
        self._ask.start()

    def _show_title(self) -> None:
        if self._members is None:
            return
        what = f"class {self.numbers[0]}" if len(self.numbers) == 1 else classes_of(len(self.numbers))
        n = len(self.model.ids)
        rejected = int((self._members.decision[self._members.of_classes(self.numbers)] == Decision.REJECTED).sum())
        total = len(self._members.of_classes(self.numbers))
        self.title.setText(f"<b>{what}</b>: {count_of(n) if n == total else f'{n:,} of {count_of(total)}'}")
        self.hint.setText(
            f"{rejected:,} rejected · "
            + self._bench.keyed(
                "click chooses, {accept} accepts, {reject} or a right click rejects, a double click goes there"
            )
        )

    # ------------------------------------------------------------------ pictures

    def _forget_pictures(self) -> None:
        """Pictures are to be cut again; those that are still being cut are outdated."""
        self._latest.ask()
        if self._job is not None:
            self._job.cancel()
        self.model.forget_pictures()

    def _on_pictures(self, asked: int, ids: NDArray[np.int64], greys: NDArray[np.uint8]) -> None:
        if self._latest.holds(asked):
            self.model.add_pictures(ids, greys)

    def _ask_for_pictures(self) -> None:
        if self._members is None or not self.isVisible():
            return
        if self._job is not None and not self._job.over:
            self._job.cancel()
        missing = self.model.missing(self.view.rows_in_sight(ahead=1))
        if not len(missing):
            return
        session, invert, post, asked = self._session, self._invert, self._post, self._latest.number

        def hand_on(ids: NDArray[np.int64], greys: NDArray[np.uint8]) -> None:
            post.arrived.emit(asked, ids, greys)

        def work(context: JobContext) -> dict[int, str]:
            return cut_crops(session, missing, invert=invert, on_some=hand_on, context=context)

        self._job = self._bench.start(
            work,
            title="cut out particles",
            quiet=True,
            on_done=self.model.add_failures,
            on_failed=self._bench.job_failed,
        )

    # ------------------------------------------------------------------ deciding

    def _on_right(self, index: QModelIndex) -> None:
        self._give([int(self.model.ids[index.row()])], Decision.REJECTED)

    def _give(self, ids: Sequence[int], decision: Decision, reason: Reason = Reason.NOT_A_PARTICLE) -> None:
        because = reason if decision is Decision.REJECTED else Reason.NONE
        self._bench.guarded(lambda: decide_picks(self._session, np.array(ids, np.int64), decision, because))

    def _on_opened(self, index: QModelIndex) -> None:
        self.go_to(index.row())

    def go_to(self, row: int) -> None:
        """Show a pick on its micrograph, centred and selected."""
        particle, where = int(self.model.ids[row]), self.model.micrograph(row)
        bench, session = self._bench, self._session
        if session.current_id != where and not bench.guarded(lambda: session.go(where)):
            return
        if particle not in session.particles.id:
            bench.say("this pick was deleted", "info")
            return
        if self.model.decision(row) is Decision.REJECTED and not bench.focus.drawn.show_rejected:
            bench.show_rejected(True)
        bench.focus.select([particle])
        bench.viewport.centre_on(np.array([particle], np.int64))

    # ------------------------------------------------------------------ keys

    def has_keyboard(self) -> bool:
        """Whether keys mean picks of this gallery."""
        return self.view.has_keyboard()

    def take(self, command: str) -> bool:
        """Do a command about the chosen picks. Returns whether it was one."""
        if command == "select-none":
            self.leave()
            return True
        if command == "select-all":
            self.view.selectAll()
            return True
        if command == "select-others":
            chosen = set(self.view.chosen_rows())
            self.view.choose_rows([row for row in range(len(self.model.ids)) if row not in chosen])
            return True
        decided = decision_of(command)
        if decided is None:
            return False
        rows = self.view.chosen_rows()
        if rows:
            self._give(self.model.ids[rows].tolist(), *decided)
        else:
            self._bench.say("choose particles first", "info")
        return True


def decision_of(command: str) -> tuple[Decision, Reason] | None:
    """What a command decides; None where it is another."""
    if command == "accept":
        return Decision.ACCEPTED, Reason.NONE
    if command == "undecide":
        return Decision.UNDECIDED, Reason.NONE
    if command in ("reject", "remove"):
        return Decision.REJECTED, Reason.NOT_A_PARTICLE
    head, _, number = command.partition("-")
    if head == "reject" and number.isdigit():
        return Decision.REJECTED, Reason(int(number))
    return None
