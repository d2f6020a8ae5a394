"""What becomes of the picks of micrographs whose files were replaced: one question, one step."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from ....session.core import watch
from ....session.core.edits import count_of
from ....session.files import changed
from ...workbench import Workbench

_ALL = 0


class ChangedDialog(QDialog):
    """Scale the positions, keep them, or start again; for one changed micrograph or all of them.

    Parameters
    ----------
    bench : Workbench
    """

    def __init__(self, bench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._bench, self._session = bench, bench.session
        self.setWindowTitle("Changed since they were picked")
        self.setMinimumWidth(560)
        self.which = QComboBox()
        ones = watch.changed(self._session)
        if len(ones) > 1:
            self.which.addItem(f"all {len(ones):,} of them", _ALL)
        for m in ones:
            self.which.addItem(m.name, m.id)
        current = self.which.findData(self._session.current_id)
        self.which.setCurrentIndex(max(0, current))
        self.how = QLabel()
        self.how.setWordWrap(True)
        self.scale = QRadioButton("Scale the positions by")
        self.factor = _number(0.01, 100.0, 4, "")
        self.by_pixel = QRadioButton("Keep positions in Å; the pixel is now")
        self.pixel = _number(0.01, 100.0, 4, " Å/px")
        self.keep = QRadioButton("Keep the positions: the image is the same in another form")
        self.anew = QRadioButton("Start again: another image has that name now")
        scale, pixel = QHBoxLayout(), QHBoxLayout()
        scale.addWidget(self.scale)
        scale.addWidget(self.factor)
        for text, value in (("½", 0.5), ("2×", 2.0)):
            button = QPushButton(text)
            button.setToolTip(f"The new image has {value:g} times as many pixels along a side")
            button.clicked.connect(lambda _=False, v=value: self._take_factor(v))
            scale.addWidget(button)
        scale.addStretch(1)
        pixel.addWidget(self.by_pixel)
        pixel.addWidget(self.pixel)
        pixel.addStretch(1)
        self.note = QLabel()
        self.note.setWordWrap(True)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self._on_accept)
        self.buttons.rejected.connect(self.reject)
        form = QFormLayout()
        form.addRow("Micrograph", self.which)
        form.addRow("", self.how)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addLayout(scale)
        layout.addLayout(pixel)
        layout.addWidget(self.keep)
        layout.addWidget(self.anew)
        layout.addWidget(self.note)
        layout.addWidget(self.buttons)
        self.which.currentIndexChanged.connect(self._on_which)
        self.factor.valueChanged.connect(lambda _: self.scale.setChecked(True))
        self.pixel.valueChanged.connect(lambda _: self.by_pixel.setChecked(True))
        self._on_which()

    def chosen(self) -> list[int]:
        """Ids of the micrographs that are meant."""
        number = self.which.currentData()
        return [m.id for m in watch.changed(self._session)] if number == _ALL else [number]

    def _on_which(self, *_: object) -> None:
        ones = [self._session.micrograph(i) for i in self.chosen()]
        if not ones:
            self.reject()
            return
        scales = [changed.suggested_scale(self._session, m) for m in ones]
        factors = {scale.factor for scale in scales}
        factor = factors.pop() if len(factors) == 1 else None
        lines = [f"{m.name}: {m.problem}" for m in ones[:4]]
        if len(ones) > 4:
            lines.append(f"and {len(ones) - 4:,} more")
        self.how.setText("\n".join(lines))
        self.factor.setValue(factor or 1.0)
        self.pixel.setValue(ones[0].header_pixel_size_A or self._session.pixel_size_A(ones[0]))
        if factor is not None and factor != 1.0:
            self.scale.setChecked(True)
        else:
            self.keep.setChecked(True)
        n = sum(m.n_particles for m in ones)
        self.note.setText(self._bench.keyed(f"{scales[0].why}. {count_of(n)} on them; one step, {{undo}} undoes it."))

    def _take_factor(self, factor: float) -> None:
        self.factor.setValue(factor)
        self.scale.setChecked(True)

    def _on_accept(self) -> None:
        session, ids = self._session, self.chosen()

        def settle() -> None:
            if self.scale.isChecked():
                changed.rescale(session, ids, self.factor.value())
            elif self.by_pixel.isChecked():
                changed.rescale_to(session, ids, self.pixel.value())
            elif self.keep.isChecked():
                changed.keep(session, ids)
            else:
                changed.start_anew(session, ids)

        if self._bench.guarded(settle):
            self.accept()


def _number(low: float, high: float, decimals: int, suffix: str) -> QDoubleSpinBox:
    box = QDoubleSpinBox()
    box.setRange(low, high)
    box.setDecimals(decimals)
    box.setSuffix(suffix)
    box.setMinimumWidth(110)
    return box
