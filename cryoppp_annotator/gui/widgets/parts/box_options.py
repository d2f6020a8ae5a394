"""How large the boxes are that are classified, and of which pixels: folded away, for the defaults are mostly right."""

from __future__ import annotations

from dataclasses import replace

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QGridLayout, QLabel, QToolButton, QWidget

from ....errors import AnnotatorError
from ....model.coordinates import angstrom_to_px
from ....session.classes.box_cache import geometry_of
from ....session.classes.run_options import RunOptions
from ...workbench import Workbench

_DIAMETERS = "diameters"
_PX = "px"


class BoxChoice(QWidget):
    """Box size in diameters or px, and pixel size of the classification.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._bench = bench
        self.fold = QToolButton()
        self.fold.setCheckable(True)
        self.fold.setArrowType(Qt.ArrowType.RightArrow)
        self.size = QDoubleSpinBox()
        self.size.setKeyboardTracking(False)
        self.unit = QComboBox()
        self.unit.addItems([_DIAMETERS, _PX])
        self.unit.setToolTip("Side of the boxes in particle diameters, or in px of the micrographs")
        self.pixel = QDoubleSpinBox()
        self.pixel.setKeyboardTracking(False)
        self.pixel.setRange(0.0, 50.0)
        self.pixel.setDecimals(2)
        self.pixel.setSingleStep(0.5)
        self.pixel.setSpecialValueText("auto")
        self.pixel.setSuffix(" Å/px")
        self.pixel.setToolTip(
            "Pixels of the boxes that are classified; auto: so coarse that a box has at most 64 px.\n"
            "Finer ones show finer detail and take longer"
        )
        self.message = QLabel()
        self.message.setWordWrap(True)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for column, widget in enumerate((QLabel("Box"), self.size, self.unit)):
            grid.addWidget(widget, 0, column)
        grid.addWidget(QLabel("Pixels"), 1, 0)
        grid.addWidget(self.pixel, 1, 1)
        grid.setColumnStretch(1, 1)
        grid.addWidget(self.message, 2, 0, 1, 3)
        self.hide()
        self._unit = ""
        self._coarsest_A: float | None = None  # asked ten times a change, and there may be 10,000 micrographs
        bench.session.changed.connect(self._forget)
        self._on_unit(_DIAMETERS)
        self.fold.toggled.connect(self._on_fold)
        self.unit.currentTextChanged.connect(self._on_unit)
        for box in (self.size, self.pixel):
            box.valueChanged.connect(lambda _value: self.refresh())
            box.editingFinished.connect(bench.canvas.setFocus)

    def _on_fold(self, open_: bool) -> None:
        self.setVisible(open_)
        self.fold.setArrowType(Qt.ArrowType.DownArrow if open_ else Qt.ArrowType.RightArrow)
        self.refresh()

    def _on_unit(self, unit: str) -> None:
        """Say the same in the other unit."""
        diameter_px = angstrom_to_px(self._bench.session.diameter_A, self._pixel_A())
        by_px = unit == _PX
        value = 1.5 if not self._unit else self.size.value() * (diameter_px if by_px else 1.0 / diameter_px)
        self._unit = unit
        self.size.setDecimals(0 if by_px else 2)
        self.size.setSingleStep(8 if by_px else 0.1)
        self.size.setRange(*((16, 4096) if by_px else (1.0, 5.0)))
        self.size.setToolTip(
            "Side of the boxes in px of the micrographs" if by_px else "Side of the boxes in particle diameters; 1.5"
        )
        self.size.setValue(value)
        self.refresh()

    def _pixel_A(self) -> float:
        """Of the coarsest micrograph that has picks."""
        if self._coarsest_A is None:
            session = self._bench.session
            picked = (session.pixel_size_A(m) for m in session.micrographs if m.n_accepted + m.n_undecided)
            self._coarsest_A = max(picked, default=1.0)
        return self._coarsest_A

    def _forget(self, _announcement: object) -> None:
        self._coarsest_A = None

    def close_panel(self) -> None:
        """Stop following the session."""
        self._bench.session.changed.disconnect(self._forget)

    def options(self, base: RunOptions) -> RunOptions:
        """With what was chosen here."""
        size, pixel = self.size.value(), self.pixel.value() or None
        if self._unit == _PX:
            return replace(base, box_px=round(size), pixel_size_A=pixel)
        return replace(base, box_diameters=round(size, 2), pixel_size_A=pixel)

    def why_not(self) -> str:
        """Why such boxes cannot be classified; empty where they can."""
        try:
            geometry_of(self.options(RunOptions()), self._bench.session.diameter_A, self._pixel_A())
        except (AnnotatorError, ValueError) as error:
            return str(error)
        return ""

    def refresh(self) -> None:
        """Say what boxes these are."""
        why, diameter_A = self.why_not(), self._bench.session.diameter_A
        if why:
            text = f"{why[0].upper()}{why[1:]}."
        else:
            made = geometry_of(self.options(RunOptions()), diameter_A, self._pixel_A())
            box_A = made.side * made.pixel_size_A
            text = (
                f"{box_A:.0f} Å, {box_A / diameter_A:.2g} diameters = {made.box_px(self._pixel_A())} px of the "
                f"micrographs, classified as {made.side} px of {made.pixel_size_A:.3g} Å"
            )
        self.message.setText(text)
        colour = self._bench.ink("error" if why else "note")
        style = f"color: {colour};" if colour else ""
        if style != self.message.styleSheet():
            self.message.setStyleSheet(style)
        self.fold.setToolTip(f"Box and pixel size.\nNow {text}")
