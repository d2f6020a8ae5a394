"""What the pages that ask for one answer after another have in common: buttons with tips and keys, in two columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtWidgets import QGridLayout, QLabel, QPushButton, QWidget

from ...workbench import Workbench


def describe(bench: Workbench, tips: Mapping[QWidget, str], keyed: Mapping[QPushButton, str]) -> None:
    """Give widgets tips, and buttons texts that follow the keys: ``Particle ({accept})``."""
    for widget, tip in tips.items():
        widget.setToolTip(tip)
    for button, text in keyed.items():
        bench.keep_keyed(button.setText, text)


def wrapped(*labels: QLabel) -> None:
    """Let labels break their lines; the first is the one that is read."""
    for label in labels:
        label.setWordWrap(True)
    labels[0].setStyleSheet("font-weight: 600")


def in_two_columns(buttons: Sequence[QPushButton]) -> QGridLayout:
    """Buttons, two a row."""
    grid = QGridLayout()
    for i, button in enumerate(buttons):
        grid.addWidget(button, i // 2, i % 2)
    return grid
