"""The suggested threshold, and what the picks above the present one are expected to be."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from ....session.picks.suggesting import Suggestion

_TIP = "Puts the line where F1 is expected to be best (of probabilities), or where the scores part into two kinds"
_EXPECTED = (
    "Of the picks above the line so many are expected to be particles, and so many of the particles among the\n"
    "candidates to be above it, by the candidates' probabilities. Too high where particles are rare (fewer than one\n"
    "candidate in twenty); what no candidate lies on is not counted"
)


class SuggestedThreshold(QWidget):
    """A button that follows the suggestion, and a line of estimates."""

    followed = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._suggestion: Suggestion | None = None
        self.follow, self.expected = QPushButton("Suggested"), QLabel()
        self.follow.setToolTip(_TIP)
        self.expected.setToolTip(_EXPECTED)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.follow)
        layout.addWidget(self.expected, 1)
        self.follow.clicked.connect(self._on_follow)

    def set_suggestion(self, suggestion: Suggestion | None) -> None:
        """Know another suggestion; None = there are no scores."""
        self._suggestion = suggestion
        self.setVisible(suggestion is not None)
        if suggestion is not None:
            self.follow.setText(f"Suggested: {suggestion.threshold:.3g}")

    def show_at(self, threshold: float | None) -> None:
        """Say what is expected above a threshold, where the scores tell."""
        suggestion = self._suggestion
        if suggestion is None or threshold is None:
            return
        self.follow.setEnabled(threshold != suggestion.threshold)
        above = suggestion.at(threshold)
        said = "" if above is None else f"precision ~{above.precision:.2f}, recall ~{above.recall:.2f}"
        self.expected.setText(said)

    def _on_follow(self) -> None:
        if self._suggestion is not None:
            self.followed.emit(self._suggestion.threshold)
