"""Two lines about the classes, always in one place: what goes on, what is out of date, or what they show."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QStackedWidget, QWidget
from superqt import QElidingLabel

#: What napari's style leaves free beside a text, px; superqt counts on all of the width.
_PADDING = 12


class RunLine(QStackedWidget):
    """As high whatever it says, so that nothing below moves; what does not fit is in its tooltip."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.verdict, self.outdated = _TwoLines(), _TwoLines(), _TwoLines()
        self.update_run = QPushButton("Update")
        self.update_run.setToolTip("Classifies the picks as they are now, starting from these averages: quicker")
        self._old = QWidget()
        row = QHBoxLayout(self._old)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.outdated, 1)
        row.addWidget(self.update_run)
        for page in (self.message, self.verdict, self._old):
            self.addWidget(page)
        self.setFixedHeight(2 * self.fontMetrics().height() + 6)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def tell(self, text: str) -> None:
        """Say what goes on or why nothing can; empty = what the classes show is said again."""
        _say(self.message, text)
        self._turn()

    def show_verdict(self, text: str, notes: str = "") -> None:
        """Say what the shown classes are, with notes for the tooltip."""
        _say(self.verdict, text, notes)
        self._turn()

    def show_outdated(self, text: str) -> None:
        """Say how the picks have changed since, and offer *Update*; empty = they have not."""
        _say(self.outdated, text, self.verdict.toolTip())
        self._turn()

    def _turn(self) -> None:
        shown = self.message if self.message.text() else self._old if self.outdated.text() else self.verdict
        self.setCurrentWidget(shown)


class _TwoLines(QElidingLabel):
    """Wraps, and ends in … after the second line."""

    def __init__(self) -> None:
        super().__init__()
        self.setEllipsesWidth(_PADDING)
        self.setWordWrap(True)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)

    def _wrappedText(self) -> list[str]:
        return list(self.wrapText(self._text, self.width() - _PADDING, self.font()))


def _say(label: QElidingLabel, text: str, more: str = "") -> None:
    label.setText(text)
    label.setToolTip("\n".join(line for line in (text, more) if line))
