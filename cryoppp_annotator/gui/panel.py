"""What the window asks of its panels: a title, and to stop following the session when the project is closed."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from qtpy.QtWidgets import QWidget


@runtime_checkable
class Follower(Protocol):
    """A widget that listens to the session or the workbench.

    Qt's own ``close`` hides a widget; :meth:`close_panel` ends what it listens to. No panel needs to call it:
    the window closes all that :func:`followers` finds.
    """

    def close_panel(self) -> None:
        """Stop listening."""


class Panel(Protocol):
    """A tab of the window: made with the workbench, shown under its title."""

    title: ClassVar[str]


def followers(root: QWidget) -> list[Follower]:
    """A widget and all widgets in it that must know when the project is closed, the outer ones first."""
    return [widget for widget in (root, *root.findChildren(QWidget)) if isinstance(widget, Follower)]
