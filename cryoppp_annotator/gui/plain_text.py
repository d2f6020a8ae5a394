"""Names of other people's files, sets and curators are shown as they are: Qt would take ``<img src=...>`` for markup.

Qt guesses for every label and tooltip whether its text is rich. Within our widgets nothing is guessed: a label is plain
unless it says :data:`Qt.TextFormat.RichText` (its names are then escaped), and a tooltip is always plain.
"""

from __future__ import annotations

import html

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QAbstractItemView, QApplication, QLabel, QToolTip, QWidget

from .app_events import AppEvents

_OURS = __name__.partition(".")[0]


def escaped(text: object) -> str:
    """A text for a rich label, a dialog or a tooltip, that shows as it is written."""
    return html.escape(str(text)).replace("\n", "<br>")


class PlainText(QObject):
    """Watches the application's events: labels of our widgets are plain, their tooltips too."""

    @classmethod
    def install(cls) -> None:
        """Watch from now on; once is enough."""
        application = QApplication.instance()
        if application is not None and application.findChild(cls) is None:
            AppEvents.instance().listen((QEvent.Type.Polish, QEvent.Type.ToolTip), cls(application).on_event)

    def on_event(self, watched: QObject, event: QEvent) -> bool:
        """Make a label plain before it is shown; show a tooltip that Qt could take for markup."""
        if event.type() == QEvent.Type.Polish:
            if isinstance(watched, QLabel) and watched.textFormat() == Qt.TextFormat.AutoText and _is_ours(watched):
                watched.setTextFormat(Qt.TextFormat.PlainText)
        elif isinstance(watched, QWidget) and isinstance(event, QHelpEvent):
            return _show_plain(watched, event)
        return False


def tooltip_of(widget: QWidget, event: QHelpEvent) -> str:
    """The tooltip at a place: of the item there, or of the widget."""
    view = widget.parent()
    if isinstance(view, QAbstractItemView) and view.viewport() is widget:
        text = view.indexAt(event.pos()).data(Qt.ItemDataRole.ToolTipRole)
        return str(text) if text else ""
    return widget.toolTip()


def _show_plain(widget: QWidget, event: QHelpEvent) -> bool:
    if not _is_ours(widget):
        return False
    text = tooltip_of(widget, event)
    if "<" not in text:
        return False  # nothing that Qt could take for markup
    QToolTip.showText(event.globalPos(), f"<span>{escaped(text)}</span>", widget)
    return True


def _is_ours(widget: QWidget | None) -> bool:
    while widget is not None:
        if type(widget).__module__.partition(".")[0] == _OURS:
            return True
        widget = widget.parentWidget()
    return False
