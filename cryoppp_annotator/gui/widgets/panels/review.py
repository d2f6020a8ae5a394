"""The *Review* tab: the queue of likely errors, two sets compared, a blind second pass."""

from __future__ import annotations

from typing import ClassVar

from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from ...layers.review_layer import ReviewLayer
from ...workbench import Workbench
from ..parts.error_queue import ErrorQueue
from ..parts.second_look import SecondLook
from ..parts.set_compare import SetCompare


class ReviewPanel(QWidget):
    """The *Review* tab.

    Parameters
    ----------
    bench : Workbench
    """

    title: ClassVar[str] = "Review"

    def __init__(self, bench: Workbench) -> None:
        super().__init__()
        self._rings = ReviewLayer(bench.viewer)
        self.sets, self.queue = SetCompare(bench, self._rings), ErrorQueue(bench, self._rings)
        self.second = SecondLook(bench, self._rings)
        self.tabs = QTabWidget()
        self.tabs.addTab(self.queue, "Errors")
        self.tabs.addTab(self.sets, "Compare sets")
        self.tabs.addTab(self.second, "Second pass")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 2, 0, 0)
        layout.addWidget(self.tabs)
        self.tabs.currentChanged.connect(self._on_tab)

    def close_panel(self) -> None:
        """Take the rings out of the viewer."""
        self._rings.clear()

    def show_compared(self, first: int, second: int) -> None:
        """Compare two sets, or what was accepted at two moments."""
        self.tabs.setCurrentWidget(self.sets)
        self.sets.show_pair(first, second)

    def hideEvent(self, event: object) -> None:
        """Behind another tab nothing is drawn."""
        super().hideEvent(event)
        self._rings.clear()

    def _on_tab(self) -> None:
        self._rings.clear()
        self.sets.show_rings()
