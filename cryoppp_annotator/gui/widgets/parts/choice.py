"""A few choices side by side, all in sight: one is down."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QButtonGroup, QHBoxLayout, QPushButton, QWidget


class Choice(QWidget):
    """Buttons of which one is down; asked as a combo box is.

    Parameters
    ----------
    items : sequence of (value, label, tooltip)
    """

    activated = Signal(int)
    currentTextChanged = Signal(str)

    def __init__(self, items: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self._values = [value for value, _label, _tip in items]
        self.buttons = [QPushButton(label) for _value, label, _tip in items]
        self._group = QButtonGroup(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for k, (button, (_value, _label, tip)) in enumerate(zip(self.buttons, items, strict=True)):
            button.setCheckable(True)
            button.setToolTip(tip)
            self._group.addButton(button, k)
            layout.addWidget(button, 1)
            button.clicked.connect(lambda _checked=False, row=k: self._on_clicked(row))
        self.buttons[0].setChecked(True)

    def _on_clicked(self, row: int) -> None:
        self.currentTextChanged.emit(self._values[row])
        self.activated.emit(row)

    def count(self) -> int:
        """How many there are."""
        return len(self._values)

    def itemText(self, row: int) -> str:
        """The value of one."""
        return self._values[row]

    def currentIndex(self) -> int:
        """Which one is down."""
        return self._group.checkedId()

    def currentText(self) -> str:
        """The value of the one that is down."""
        return self._values[self.currentIndex()]

    def setCurrentIndex(self, row: int) -> None:
        """Choose one."""
        if row != self.currentIndex():
            self.buttons[row].setChecked(True)
            self.currentTextChanged.emit(self._values[row])

    def setCurrentText(self, value: str) -> None:
        """Choose one by its value."""
        self.setCurrentIndex(self._values.index(value))
