"""The measured and the fitted rings of the micrograph on the screen; a ring that is wrong can be dragged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, QSizeF, Qt, Signal
from qtpy.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from ....batch.ctf_output import HEAD, SIDE
from ....batch.ctf_project import picture_of
from ....imaging.ctf import Ctf, Defocus, Optics
from ....imaging.ctf_picture import edge_frequency
from ....imaging.ctf_zeros import nearest_zero, with_zero_at, zero_ring
from ....session.pictures import optics
from ...workbench import Workbench

#: Of the window's height.
_SHARE = 0.75
_EXPLAINED = (
    "Left: measured. Right: fitted. Below: measured (black) and fitted (orange) rings along lines of equal phase; "
    "blue: how well they agree, and a bar where that ends.\n"
    "Thin lines: zeros of the CTF at the present defocus. Drag one onto a dark measured ring to correct the defocus, "
    "or press Up and Down (100 Å; with Ctrl 1,000, with Shift 10)."
)
_UNKNOWN = "No defocus is known: drag from any dark ring, the dashed lines are a guess."
_NO_PICTURE = "The rings of this micrograph were not looked at yet: estimate the defocus first."
#: Room for the explanation.
_NOTE_LINES = 7
#: Zeros that are drawn; finer ones lie too close to be told apart.
_MOST_ZEROS = 8
#: Directions in which a zero is drawn.
_ANGLES = np.linspace(0.0, 2.0 * np.pi, 121)
#: Where dragging begins while no defocus is known, angstrom.
_GUESS_A = 15_000.0
#: A defocus that can be dragged to, angstrom.
_DEFOCUS_A = (500.0, 100_000.0)
_ZERO_COLOUR = "#d55e00"


class RingsPicture(QWidget):
    """The picture of a fit with the zeros of the present CTF over it.

    Attributes
    ----------
    ctf : Ctf or None
        Whose zeros are drawn.
    """

    dragged = Signal(object)  # the CTF under the pointer
    chosen = Signal(object)  # the same, where it was let go

    def __init__(self, height: int) -> None:
        super().__init__()
        self.ctf: Ctf | None = None
        self.guess = False
        self._pixmap = QPixmap()
        self._per_px = 0.0
        self._grip: tuple[Ctf, int] | None = None
        self._before_keys: Ctf | None = None
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._size = QSize(round(0.68 * height), height)
        self.setMinimumSize(self._size / 2)

    def sizeHint(self) -> QSize:
        """As high as the dialog may be."""
        return self._size

    def pixmap(self) -> QPixmap:
        """The picture, without what is drawn over it."""
        return self._pixmap

    def show_fit(self, pixmap: QPixmap, ctf: Ctf, pixel_size_A: float, *, guess: bool) -> None:
        """Show a picture as :func:`..batch.ctf_output.write_fit_picture` draws it; null = none."""
        self._pixmap, self._per_px = pixmap, edge_frequency(pixel_size_A) / (SIDE // 2)
        self.ctf, self.guess, self._grip = ctf, guess, None
        self.setCursor(Qt.CursorShape.ArrowCursor if pixmap.isNull() else Qt.CursorShape.OpenHandCursor)
        self.update()

    # ------------------------------------------------------------------ places

    def _scale(self) -> float:
        """Px of the widget per px of the picture; it is never enlarged."""
        width, height = max(1, self._pixmap.width()), max(1, self._pixmap.height())
        return min(1.0, self.width() / width, self.height() / height)

    def _corner(self) -> QPointF:
        scale = self._scale()
        return QPointF(self.width() - scale * self._pixmap.width(), self.height() - scale * self._pixmap.height()) / 2.0

    def place_of(self, kx: float, ky: float) -> QPointF:
        """Where a spatial frequency (1/A) is, px of the widget."""
        x, y = SIDE // 2 + kx / self._per_px, HEAD + SIDE // 2 + ky / self._per_px
        return self._corner() + QPointF(x, y) * self._scale()

    def frequency_at(self, place: QPointF) -> tuple[float, float]:
        """The spatial frequency (kx, ky), 1/A, at a place of the widget."""
        at = (place - self._corner()) / self._scale()
        return (at.x() - SIDE // 2) * self._per_px, (at.y() - HEAD - SIDE // 2) * self._per_px

    def _on_rings(self, place: QPointF) -> bool:
        edge = self._per_px * (SIDE // 2)
        return all(abs(k) <= edge for k in self.frequency_at(place))

    # ------------------------------------------------------------------ drawing and dragging

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the picture and the zeros."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self._pixmap.isNull() or self.ctf is None:
            return
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        size = QSizeF(self._pixmap.size()) * self._scale()
        painter.drawPixmap(QRectF(self._corner(), size), self._pixmap, QRectF(self._pixmap.rect()))
        pen = QPen(QColor(_ZERO_COLOUR), 1.2, Qt.PenStyle.DashLine if self.guess else Qt.PenStyle.SolidLine)
        painter.setPen(pen)
        edge = self._per_px * (SIDE // 2)
        for number in range(1, _MOST_ZEROS + 1):
            k = zero_ring(self.ctf, number, _ANGLES)
            if not np.isfinite(k).all() or k.max() > edge:
                break
            along = zip(k * np.cos(_ANGLES), k * np.sin(_ANGLES), strict=True)
            painter.drawPolyline(QPolygonF([self.place_of(float(kx), float(ky)) for kx, ky in along]))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take hold of the nearest zero."""
        place = _position(event)
        if event.button() != Qt.MouseButton.LeftButton or self.ctf is None or self._pixmap.isNull():
            return
        if self._on_rings(place):
            self._grip = self.ctf, nearest_zero(self.ctf, *self.frequency_at(place))
            self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Another defocus, so that the zero lies under the pointer."""
        if self._grip is None:
            return
        moved = with_zero_at(*self._grip, *self.frequency_at(_position(event)))
        if _DEFOCUS_A[0] <= (moved.defocus.u_A + moved.defocus.v_A) / 2.0 <= _DEFOCUS_A[1]:
            self.ctf = moved
            self.update()
            self.dragged.emit(moved)

    def mouseReleaseEvent(self, _event: QMouseEvent) -> None:
        """Keep it."""
        if self._grip is None:
            return
        before, self._grip = self._grip[0], None
        self.setCursor(Qt.CursorShape.OpenHandCursor)
        if self.ctf is not None and self.ctf != before:
            self.chosen.emit(self.ctf)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Up and Down: another mean defocus, the astigmatism stays."""
        way = {Qt.Key.Key_Up: 1.0, Qt.Key.Key_Down: -1.0}.get(Qt.Key(event.key()))
        if way is None or self.ctf is None or self._pixmap.isNull():
            super().keyPressEvent(event)
            return
        held = event.modifiers()
        large, small = held & Qt.KeyboardModifier.ControlModifier, held & Qt.KeyboardModifier.ShiftModifier
        step = way * (1000.0 if large else 10.0 if small else 100.0)
        d = self.ctf.defocus
        moved = replace(self.ctf, defocus=replace(d, u_A=d.u_A + step, v_A=d.v_A + step))
        if _DEFOCUS_A[0] <= (moved.defocus.u_A + moved.defocus.v_A) / 2.0 <= _DEFOCUS_A[1]:
            self._before_keys = self._before_keys or self.ctf
            self.ctf = moved
            self.update()
            self.dragged.emit(moved)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """Keep it; a key that is held is one step."""
        if event.isAutoRepeat() or self._before_keys is None:
            super().keyReleaseEvent(event)
            return
        before, self._before_keys = self._before_keys, None
        if self.ctf is not None and self.ctf != before:
            self.chosen.emit(self.ctf)


class RingsDialog(QDialog):
    """Stays open and follows the current micrograph.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench.window)
        self._bench = bench
        self.setWindowTitle("Thon rings")
        # its room is there from the beginning, so that it does not grow over the edge of the screen
        height = round(_SHARE * min(bench.window.height(), self.screen().availableGeometry().height()))
        self.picture, self.defocus, self.note = RingsPicture(height), QLabel(" "), QLabel()
        self.note.setWordWrap(True)
        # a label that wraps asks for less height than its text takes
        self.note.setMinimumHeight(_NOTE_LINES * self.note.fontMetrics().lineSpacing())
        self.note.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.addWidget(self.picture, 1)
        layout.addWidget(self.defocus)
        layout.addWidget(self.note)
        self.picture.setFocus()
        self.picture.dragged.connect(self._say_defocus)
        self.picture.chosen.connect(self._on_chosen)
        bench.session.current_changed.connect(self.refresh)
        bench.session.changed.connect(self.refresh)
        self.refresh()

    def refresh(self, *_what: object) -> None:
        """Show the picture of the current micrograph, or say that there is none."""
        session = self._bench.session
        current = session.current
        if current is None:
            return
        known = optics.ctf_of(current)
        ctf = known or Ctf(Defocus(_GUESS_A, _GUESS_A), optics.common_microscope(session) or Optics())
        pixmap = QPixmap(str(picture_of(session, current)))
        self.picture.show_fit(pixmap, ctf, session.pixel_size_A(current), guess=known is None)
        if pixmap.isNull():
            self.note.setText(_NO_PICTURE)
        else:
            self.note.setText(f"{_EXPLAINED}\n{_UNKNOWN}" if known is None else _EXPLAINED)
        if known is None:
            self.defocus.setText(" ")
        else:
            self._say_defocus(known)

    def _say_defocus(self, ctf: Ctf) -> None:
        d = ctf.defocus
        apart = "" if d.u_A == d.v_A else f" ({d.u_A / 1e4:.3f} and {d.v_A / 1e4:.3f} at {d.angle_deg:.0f}°)"
        self.defocus.setText(f"Defocus {(d.u_A + d.v_A) / 2e4:.3f} µm{apart}")

    def _on_chosen(self, ctf: Ctf) -> None:
        current = self._bench.session.current
        if current is not None:
            self._bench.guarded(lambda: optics.set_optics(self._bench.session, [current.id], ctf))

    def close_panel(self) -> None:
        """Stop listening."""
        self._bench.session.current_changed.disconnect(self.refresh)
        self._bench.session.changed.disconnect(self.refresh)


def _position(event: QMouseEvent) -> QPointF:
    """Where the pointer is, px of the widget, in Qt 5 and 6."""
    return event.position() if hasattr(event, "position") else QPointF(event.localPos())
