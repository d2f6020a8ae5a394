"""What differs between Qt's Python bindings; everything else is the same through qtpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy import API_NAME
from qtpy.QtCore import QEvent
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QWidget


def _rewrapper() -> Callable[[QEvent], QKeyEvent]:
    """What wraps the object behind an event as a key event."""
    if API_NAME.startswith("PySide"):
        import shiboken6 as shiboken

        return lambda event: shiboken.wrapInstance(shiboken.getCppPointer(event)[0], QKeyEvent)
    from qtpy import sip

    return lambda event: sip.wrapinstance(sip.unwrapinstance(event), QKeyEvent)


_rewrapped: Callable[[QEvent], Any] = _rewrapper()


def as_key_event(event: QEvent) -> QKeyEvent:
    """The same event with the right Python type.

    sip may hand out the wrapper of an earlier mouse event, which vispy keeps, where Qt puts a key event at the same
    place in memory.
    """
    if isinstance(event, QKeyEvent):
        return event
    return _rewrapped(event)


def is_alive(widget: QWidget) -> bool:
    """Whether Qt has not destroyed a widget yet (a window that is closing takes its children with it)."""
    try:
        widget.objectName()
    except RuntimeError:
        return False
    return True
