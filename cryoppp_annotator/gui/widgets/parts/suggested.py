"""The suggested threshold, and what the picks above the present one are expected to be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget

from ....session.picks.suggesting import Suggestion, suggest
from .threshold import ThresholdSlider

_TIP = (
    "The suggested threshold, the dashed line: where F1 is expected to be best (of probabilities), or where the\n"
    "scores part into two kinds"
)
_EXPECTED = (
    "Of the picks above the line so many are expected to be particles, and so many of the particles among the\n"
    "candidates to be above it, by the candidates' probabilities. Too high where particles are rare (fewer than one\n"
    "candidate in twenty); what no candidate lies on is not counted"
)


class SuggestedThreshold(QWidget):
    """A line of estimates, and a button that follows the suggestion: ``follow`` is laid out by the panel.

    Parameters
    ----------
    slider : ThresholdSlider
        Shows where the suggestion lies.
    follow : callable
        Gets the suggested threshold when it is asked for.
    """

    def __init__(self, slider: ThresholdSlider, follow: Callable[[float], object]) -> None:
        super().__init__()
        self._slider = slider
        self._suggestion: Suggestion | None = None
        self.follow, self.expected = QPushButton("Suggested"), QLabel()
        self.follow.setToolTip(_TIP)
        self.expected.setToolTip(_EXPECTED)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.expected)
        self.setFixedHeight(self.fontMetrics().height() + 8)
        self.follow.clicked.connect(lambda: self._suggestion and follow(self._suggestion.threshold))

    def follow_scores(self, scores: NDArray[np.float64], probabilities: bool) -> float:
        """Suggest a threshold for scores (n,), at least one; returns it."""
        self._suggestion = suggest(scores, probabilities=probabilities)
        threshold = self._suggestion.threshold
        self._slider.set_suggestion(threshold)
        self.follow.setText(f"Use {threshold:.3g}")
        self.show_at(self._slider.value)
        return threshold

    def show_at(self, threshold: float | None) -> None:
        """Say what is expected above a threshold, where the scores tell."""
        suggestion = self._suggestion
        if suggestion is None or threshold is None:
            return
        self.follow.setEnabled(threshold != suggestion.threshold)
        above = suggestion.at(threshold)
        self.expected.setText("" if above is None else f"precision ~{above.precision:.2f}, recall ~{above.recall:.2f}")
