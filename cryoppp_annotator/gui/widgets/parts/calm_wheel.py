"""The wheel scrolls a panel; it does not turn the numbers and choices that pass under the pointer."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QScrollBar,
    QWidget,
)


class _Calm(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Give the wheel to the panel, unless a person is in the field."""
        if event.type() != QEvent.Type.Wheel or not isinstance(watched, QWidget) or watched.hasFocus():
            return False
        around = watched.parentWidget()
        while around is not None and not isinstance(around, QAbstractScrollArea):
            around = around.parentWidget()
        if around is not None:
            QApplication.sendEvent(around.verticalScrollBar(), event)
        event.accept()
        return True


def calm(panel: QWidget) -> None:
    """Do this for a field, or for all fields that a panel has now."""
    fields = [panel, *panel.findChildren(QWidget)]
    for field in fields:
        if isinstance(field, QAbstractSpinBox | QComboBox | QAbstractSlider) and not isinstance(field, QScrollBar):
            # else the wheel would take the keyboard, and keys would be typed into the field
            field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            field.installEventFilter(_Calm(field))
