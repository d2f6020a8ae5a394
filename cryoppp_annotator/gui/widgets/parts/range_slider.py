"""A slider with two ends that also follows the keyboard."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeyEvent
from superqt import QLabeledDoubleRangeSlider

#: A key moves an end by this share of the whole range, with Ctrl by ten times as much.
_STEP = 0.01
#: What tooltips say of the keys.
KEYS = "Left and Right move the upper end, with Shift the lower one, with Ctrl ten times as far; Home takes all"


class RangeSlider(QLabeledDoubleRangeSlider):
    """A horizontal slider of a lower and an upper end; arrows move the upper one, with Shift the lower one."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self._slider.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the keys that are for it."""
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and self._take(event):
            return True
        return bool(super().eventFilter(watched, event))

    def _take(self, event: QKeyEvent) -> bool:
        low, high = self.value()
        if event.key() == Qt.Key.Key_Home:
            self.setValue((self.minimum(), self.maximum()))
            return True
        direction = {Qt.Key.Key_Left: -1.0, Qt.Key.Key_Right: 1.0}.get(Qt.Key(event.key()))
        if direction is None:
            return False
        held = event.modifiers()
        step = direction * _STEP * (self.maximum() - self.minimum())
        step *= 10.0 if held & Qt.KeyboardModifier.ControlModifier else 1.0
        if held & Qt.KeyboardModifier.ShiftModifier:
            self.setValue((min(max(low + step, self.minimum()), high), high))
        else:
            self.setValue((low, max(min(high + step, self.maximum()), low)))
        return True
