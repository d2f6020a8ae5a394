"""What one part of the window asks of another: signals of the workbench that the annotator answers."""

from __future__ import annotations

from qtpy.QtCore import QObject, Signal


class Requests(QObject):
    """The signals, each for one thing that is asked for."""

    help_requested = Signal()
    fold_requested = Signal(str)  # "list" or "panel"
    widen_requested = Signal(bool)  # the panel over most of the canvas, and back
    export_requested = Signal()
    propose_requested = Signal(object)  # ids of micrographs
    history_requested = Signal(object)  # a HistoryScope
    compare_requested = Signal(int, int)  # numbers of two sets
    seen_requested = Signal()  # the map of what was looked at
    rejection_considered = Signal(object, str)  # ids of picks (or a Which), and what would reject them
    views_requested = Signal()  # a picture of the views that are lost
