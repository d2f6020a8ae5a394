"""What a particle measures: its diameter, the pixel size, which image of a stack."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QWidget,
)
from superqt import QElidingLabel

from ....model.coordinates import angstrom_to_px
from ....session.core import species
from ...workbench import Workbench
from .fold import Fold

#: The diameter slider runs over this range, angstrom, logarithmically.
DIAMETER_RANGE_A = (20.0, 2000.0)
_STEPS = 1000
_MORE = "Dark or bright particles, which image of a stack, whose pixel size you enter"


class ParticleSizeBox(QGroupBox):
    """Diameter, pixel size and frame.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__("Particle")
        self._bench = bench
        self._session = bench.session
        self._guessed = False
        form = QFormLayout(self)
        form.setVerticalSpacing(3)  # Qt gives it to rows that are hidden, too
        self.diameter = QDoubleSpinBox()
        self.diameter.setRange(5, 10_000)
        self.diameter.setDecimals(0)
        self.diameter.setSuffix(" Å")
        self.diameter.setKeyboardTracking(False)
        bench.keep_keyed(
            self.diameter.setToolTip, "Particle diameter; {smaller} and {larger} make it smaller and larger"
        )
        # as a style: napari's own would overrule setMinimumWidth
        wide = self.fontMetrics().horizontalAdvance
        self.diameter.setStyleSheet(f"min-width: {wide('1888 Å') + 18}px;")
        self.diameter_px = QLabel()
        self.guess = QElidingLabel("Default: measure a particle to set it")
        self.measure = QPushButton("Measure")
        self.measure.setStyleSheet("padding: 3px 4px;")  # beside the number the word has little room
        bench.keep_keyed(self.measure.setToolTip, "Then drag from the centre of a particle to its rim ({measure})")
        self.measure.clicked.connect(lambda: self._bench.give("measure"))
        row = QHBoxLayout()
        row.setSpacing(4)
        row.addWidget(self.diameter, 1)
        row.addWidget(self.measure)
        self.diameter_slider = QSlider(Qt.Orientation.Horizontal)
        self.diameter_slider.setRange(0, _STEPS)
        self.diameter_slider.setToolTip("Rings follow while you drag; it is stored when you let go")
        self.pixel_size = QDoubleSpinBox()
        self.pixel_size.setRange(0.0, 100.0)
        self.pixel_size.setDecimals(4)
        self.pixel_size.setSuffix(" Å/px")
        self.pixel_size.setKeyboardTracking(False)
        self.pixel_size.setSpecialValueText("as the header says")
        self.pixel_size.setStyleSheet(f"min-width: {wide('88.8888 Å/px') + 40}px;")
        self.pixel_scope = QComboBox()
        self.pixel_scope.setStyleSheet("min-width: 40px;")
        self.pixel_scope.addItem("of all micrographs", "all")
        self.pixel_scope.addItem("of this micrograph", "this")
        self.pixel_scope.setToolTip("Whether a pixel size you enter is the project's or this micrograph's")
        self.polarity = QComboBox()
        self.polarity.addItem("dark particles", False)
        self.polarity.addItem("bright particles", True)
        self.polarity.setToolTip(
            "How particles look in the raw micrographs; for pickers, templates and finding carbon and ice.\n"
            "Dark is usual; one step, one undo"
        )
        self.doubt = QElidingLabel()
        self.frame = QComboBox()
        self.frame.setToolTip("The file holds several images; coordinates are the same for all")
        form.addRow("Diameter", row)
        form.addRow(self.diameter_px, self.diameter_slider)
        form.addRow("Pixel size", self.pixel_size)
        self.notes = QElidingLabel(" ")
        form.addRow(self._line())
        self._frame_label = QLabel("Frame")
        self.more = Fold("Contrast, frame", self._folded(), _MORE)
        form.addRow(self.more)
        self.diameter.valueChanged.connect(self._on_diameter_typed)
        self.diameter.editingFinished.connect(self._leave_field)
        self.diameter_slider.sliderMoved.connect(self._on_diameter_dragged)
        self.diameter_slider.sliderReleased.connect(self._on_diameter_released)
        self.diameter_slider.actionTriggered.connect(self._on_diameter_stepped)
        self.pixel_size.valueChanged.connect(self._on_pixel_size)
        self.pixel_size.editingFinished.connect(self._leave_field)
        self.frame.activated.connect(self._on_frame)
        self.polarity.activated.connect(self._on_polarity)
        bench.themed.connect(self._colour)
        bench.focus.species_changed.connect(self.refresh)
        bench.picture_shown.connect(lambda _kind: self._show_pixel_size())
        self._colour()

    def _line(self) -> QWidget:
        """One line, which keeps its place: what is below must not move under the pointer."""
        line = QWidget()
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        for label in (self.doubt, self.guess, self.notes):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            layout.addWidget(label)
        line.setFixedHeight(self.fontMetrics().height() + 2)
        return line

    def _folded(self) -> QWidget:
        content = QWidget()
        form = QFormLayout(content)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(3)
        form.addRow("Pixel size", self.pixel_scope)
        form.addRow("Contrast", self.polarity)
        form.addRow(self._frame_label, self.frame)
        return content

    def refresh(self) -> None:
        """Show the session's numbers."""
        number = self._session.loaded.current_species
        self.setTitle(f"Particle: {species.named(self._session, number)}" if number else "Particle")
        self._show_diameter(self._session.loaded.new_diameter_A)
        self._show_pixel_size()
        self.polarity.setCurrentIndex(self.polarity.findData(self._session.settings.bright))

    def _on_diameter_typed(self, value: float) -> None:
        self._bench.guarded(lambda: species.set_new_diameter(self._session, value))

    def _on_diameter_dragged(self, step: int) -> None:
        value = _diameter_of(step)
        self._show_diameter(value)
        self._bench.preview_diameter(value)

    def _on_diameter_released(self) -> None:
        value = float(round(_diameter_of(self.diameter_slider.value())))
        self._bench.guarded(lambda: species.set_new_diameter(self._session, value))

    def _on_diameter_stepped(self, _action: int) -> None:
        if not self.diameter_slider.isSliderDown():
            QTimer.singleShot(0, self._on_diameter_released)

    def _on_pixel_size(self, value: float) -> None:
        only_here = self._session.current_id if self.pixel_scope.currentData() == "this" else None
        self._bench.guarded(lambda: self._session.set_pixel_size(value or None, only_here))

    def _on_frame(self, index: int) -> None:
        here = self._session.current_id
        if here is not None:
            self._bench.guarded(lambda: self._session.set_frame(here, index - 1))

    def _on_polarity(self, _index: int) -> None:
        self._bench.guarded(lambda: self._session.set_bright(bool(self.polarity.currentData())))
        self._bench.canvas.setFocus()

    def _leave_field(self) -> None:
        """Keys go back to the commands after a number was typed."""
        self._bench.canvas.setFocus()

    def _show_diameter(self, value_A: float) -> None:
        current = self._session.current
        px = angstrom_to_px(value_A, self._session.pixel_size_A(current)) if current is not None else None
        with QSignalBlocker(self.diameter), QSignalBlocker(self.diameter_slider):
            self.diameter.setValue(value_A)
            if not self.diameter_slider.isSliderDown():
                self.diameter_slider.setValue(_step_of(value_A))
        one = self._session.species.get(self._session.loaded.current_species)
        guess = not self._session.settings.diameter_is_set and (one is None or one.diameter_A is None)
        self.diameter_px.setText(f"({px:.0f} px)" if px is not None else "")
        self._guessed = guess
        self._show_line()

    def _show_line(self) -> None:
        """What is most in need of a person, of what there is to say."""
        doubt, notes = bool(self.doubt.text()), self.notes.text().strip()
        self.doubt.setVisible(doubt)
        self.guess.setVisible(self._guessed and not doubt)
        self.notes.setVisible(bool(notes) and not doubt and not self._guessed)
        texts = [self.doubt.text(), self.guess.text() if self._guessed else "", self.notes.toolTip()]
        tip = "\n".join(text for text in texts if text)
        for label in (self.doubt, self.guess):
            label.setToolTip(tip)

    def _show_pixel_size(self) -> None:
        current = self._session.current
        enabled = current is not None
        self.pixel_size.setEnabled(enabled)
        if current is None:
            self.pixel_size.setToolTip("open a micrograph first")
            return
        with QSignalBlocker(self.pixel_size):
            self.pixel_size.setValue(self._session.pixel_size_A(current))
        header = current.header_pixel_size_A
        size = "nothing" if header is None else f"{header:.4g} Å/px"
        self.pixel_size.setToolTip(f"The header says {size}; 0 = as the header says")
        doubt = self._session.settings.pixel_size_doubt(current)
        self.doubt.setText(f"⚠ {doubt}; enter the true one" if doubt else "")
        notes = self._bench.pictures.notes.get(current.id, ())
        self.notes.setText(" · ".join(notes) or " ")
        self.notes.setToolTip("\n".join(notes))
        self._show_line()
        several = current.n_frames > 1
        self.more.say(f"{current.n_frames} frames" if several else "")
        self.frame.setVisible(several)
        self._frame_label.setVisible(several)
        if several:
            with QSignalBlocker(self.frame):
                self.frame.clear()
                self.frame.addItem(f"average of {current.n_frames}")
                self.frame.addItems([f"frame {k + 1}" for k in range(current.n_frames)])
                self.frame.setCurrentIndex(current.frame + 1)

    def _colour(self) -> None:
        for label in (self.doubt, self.guess):
            label.setStyleSheet(f"color: {self._bench.ink('warning')};")


def _diameter_of(step: int) -> float:
    low, high = np.log(DIAMETER_RANGE_A)
    return float(np.exp(low + (high - low) * step / _STEPS))


def _step_of(diameter_A: float) -> int:
    low, high = np.log(DIAMETER_RANGE_A)
    return int(np.clip(round(_STEPS * (np.log(diameter_A) - low) / (high - low)), 0, _STEPS))
