"""What a kind of particle is called, how it is drawn, its key and its size."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from ....model.species import Species

#: Keys that nothing else has; F1 is help.
KEYS = tuple(f"F{k}" for k in range(2, 13))


@dataclass(frozen=True, slots=True)
class SpeciesValues:
    """What a person entered."""

    name: str
    colour: str
    key: str
    diameter_A: float | None


class SpeciesDialog(QDialog):
    """Asks for the values of a species.

    Parameters
    ----------
    parent : QWidget
    shown : Species
        What stands there first.
    taken : frozenset of str
        Keys that other species and commands have.
    """

    def __init__(self, parent: QWidget, shown: Species, taken: frozenset[str]) -> None:
        super().__init__(parent)
        self.setWindowTitle("Species")
        self.name = QLineEdit(shown.name)
        self.name.setPlaceholderText("ribosome")
        self.colour = QPushButton()
        self._colour = shown.colour
        self._show_colour()
        self.colour.clicked.connect(self._on_colour)
        self.key = QComboBox()
        self.key.addItem("none", "")
        for key in [*((shown.key,) if shown.key not in ("", *KEYS) else ()), *KEYS]:
            if key == shown.key or key not in taken:
                self.key.addItem(key, key)
        self.key.setCurrentIndex(max(0, self.key.findData(shown.key)))
        self.key.setToolTip("Gives the selected picks (or the one under the pointer) this species, and new picks too")
        self.diameter = QDoubleSpinBox()
        self.diameter.setRange(0, 10_000)
        self.diameter.setDecimals(0)
        self.diameter.setSuffix(" Å")
        self.diameter.setSpecialValueText("as the project")
        self.diameter.setValue(shown.diameter_A or 0.0)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        for label, widget in (
            ("Name", self.name),
            ("Colour", self.colour),
            ("Key", self.key),
            ("Diameter", self.diameter),
        ):
            form.addRow(label, widget)
        form.addRow(buttons)
        self.name.setFocus()

    def values(self) -> SpeciesValues:
        """What stands there now."""
        return SpeciesValues(self.name.text(), self._colour, self.key.currentData(), self.diameter.value() or None)

    def _show_colour(self) -> None:
        self.colour.setText(self._colour)
        ink = "black" if _is_light(self._colour) else "white"
        self.colour.setStyleSheet(f"background: {self._colour}; color: {ink};")

    def _on_colour(self) -> None:
        chosen = QColorDialog.getColor(QColor(self._colour), self, "Colour of the rings")
        if chosen.isValid():
            self._colour = chosen.name().upper()
            self._show_colour()


def _is_light(colour: str) -> bool:
    return QColor(colour).lightnessF() > 0.5
