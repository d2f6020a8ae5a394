"""Groups that fold, and a panel that never scrolls by itself and keeps its width when it can be scrolled."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QScrollBar, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from ...preferences import keep_preference, preference

#: Width of the scroll bar, px.
_BAR = 9


class Fold(QWidget):
    """A heading that shows and hides what is below it; whether it is open is remembered.

    Parameters
    ----------
    title : str
    content : QWidget
    tip : str
        Tooltip of the heading.
    open_at_first : bool
        Before a person has chosen.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, content: QWidget, tip: str, *, open_at_first: bool = False) -> None:
        super().__init__()
        self.title, self.content, self._tip = title, content, tip
        self.head = QToolButton()
        self.head.setCheckable(True)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.head.setFixedHeight(self.fontMetrics().height() + 4)
        self.head.setToolTip(tip)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.head)
        # in a widget of its own: what the content does with its own visibility opens no fold
        self._inside = QWidget()
        inside = QVBoxLayout(self._inside)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(content)
        layout.addWidget(self._inside)
        self.say("")
        self.head.toggled.connect(self._on_toggled)
        is_open = preference(f"open: {title}", open_at_first)
        self.head.setChecked(is_open)
        self._show(is_open)

    def say(self, news: str) -> None:
        """Write a few words beside the title, for those who keep it closed."""
        self.head.setText(f"{self.title} · {news}" if news else self.title)

    def open(self) -> None:
        """Show what is in it."""
        self.head.setChecked(True)

    def _on_toggled(self, is_open: bool) -> None:
        self._show(is_open)
        keep_preference(f"open: {self.title}", is_open)
        self.toggled.emit(is_open)

    def _show(self, is_open: bool) -> None:
        self._inside.setVisible(is_open)
        self.head.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)


class _KeptBar(QScrollBar):
    """A slim scroll bar whose room is kept: it is drawn only where there is something to scroll."""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Vertical)
        self.setStyleSheet(f"QScrollBar:vertical {{ width: {_BAR}px; margin: 0px; }}")
        self.setFixedWidth(_BAR)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Nothing, or as every scroll bar."""
        if self.maximum() > self.minimum():
            super().paintEvent(event)


class StillScrollArea(QScrollArea):
    """Scrolls when a person scrolls or tabs, not when a button that had the keyboard is switched off.

    Qt hands the keyboard on to the next field then, and scrolls to it: the next click would hit another button.

    Parameters
    ----------
    home : QWidget
        Gets the keyboard instead.
    """

    def __init__(self, home: QWidget) -> None:
        super().__init__()
        self._home = home
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBar(_KeptBar())
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)  # lines do not wrap when it comes
        sideways = self.horizontalScrollBar()  # hidden, but a focus that moves on and a wheel would move it
        sideways.valueChanged.connect(lambda _value: sideways.setValue(0))

    def focusNextPrevChild(self, forwards: bool) -> bool:
        """Follow the Tab key only."""
        focused = self.window().focusWidget()
        switched_off = focused is not None and (
            focused.testAttribute(Qt.WidgetAttribute.WA_ForceDisabled) or not focused.isVisible()
        )
        if switched_off and self.isAncestorOf(focused):
            self._home.setFocus()
            return True
        return bool(super().focusNextPrevChild(forwards))
