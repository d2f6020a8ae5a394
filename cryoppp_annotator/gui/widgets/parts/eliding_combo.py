"""A choice whose text ends in … where it has no room, and is whole in the tooltip."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QComboBox, QSizePolicy, QStyle, QStyleOptionComboBox, QStylePainter


class ElidingCombo(QComboBox):
    """As narrow as there is room: Qt's own cuts the text in the middle of a letter."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def shown_text(self) -> str:
        """The current text as it is drawn."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        part = QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, self).width() - 4
        return str(self.fontMetrics().elidedText(self.currentText(), Qt.TextElideMode.ElideRight, room))

    def paintEvent(self, _event: QPaintEvent) -> None:
        """As every choice, but for the text."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        option.currentText = self.shown_text()
        painter = QStylePainter(self)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
