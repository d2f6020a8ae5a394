"""Panels that fit beside the micrograph: choices may be narrower than their longest entry."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox, QGroupBox, QHBoxLayout, QPushButton, QSizePolicy, QWidget

#: White on it can be read on either theme.
_PRIMARY = "background-color: #4B5FD6; color: white;"

#: Headings instead of frames: the panel is narrow.
_SECTIONS = """
QGroupBox { border: none; margin: 0px; margin-top: 17px; padding: 0px; font-weight: bold; }
QGroupBox[title=""] { margin-top: 0px; }
QGroupBox * { font-weight: normal; }
QGroupBox::title { subcontrol-origin: margin; subcontrol-position: top left; left: 0px; padding: 0px; }
"""


def compact(panel: QWidget) -> None:
    """Let the fields of a panel take the room that there is; the texts of buttons stay whole."""
    for combo in panel.findChildren(QComboBox):
        if combo.sizeAdjustPolicy() != QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon:
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(6)
    for button in panel.findChildren(QPushButton):
        if not button.styleSheet():
            button.setStyleSheet("padding: 3px 4px;")


def grow(dialog: QWidget) -> None:
    """Make a dialog as high as its texts need; to be called after one was set that may have become longer."""
    layout = dialog.layout()
    if layout is None:
        return  # it is still being built
    layout.activate()
    needed = layout.totalHeightForWidth(dialog.width()) if layout.hasHeightForWidth() else 0
    needed = max(needed, layout.totalMinimumSize().height())
    if needed > dialog.height():
        dialog.resize(dialog.width(), needed)


def primary(*buttons: QPushButton) -> None:
    """Colour the buttons that one presses next, one a step; to be called after :func:`compact`."""
    for button in buttons:
        style = button.styleSheet() or "padding: 3px 4px;"
        button.setStyleSheet(f"QPushButton {{ {style} }} QPushButton:enabled {{ {_PRIMARY} }}")


def side_by_side(*widgets: QWidget) -> QHBoxLayout:
    """Widgets in a row."""
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget)
    return row


def tighten(inner: QWidget, reasons: Sequence[QPushButton]) -> None:
    """Little air: all of it is to be seen at once on a small screen."""
    inner.setStyleSheet(_SECTIONS)
    for box in inner.findChildren(QGroupBox):
        box.layout().setContentsMargins(0, 0, 0, 2)
        box.layout().setSpacing(3)
        if box.parentWidget() is inner:  # no pixel less where the panel has to be scrolled
            box.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    for combo in inner.findChildren(QComboBox):
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(5)
    for button in inner.findChildren(QPushButton):
        button.setMinimumWidth(10)
        button.setStyleSheet("padding: 1px 1px;")
    small = round(0.86 * inner.fontInfo().pixelSize())
    for button in reasons:  # three long words side by side
        button.setStyleSheet(f"padding: 1px 0px; font-size: {small}px;")
