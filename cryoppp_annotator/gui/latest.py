"""Answers that come late: only the answer to the latest question is taken; and work that waits for a pause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, QTimer


class Latest:
    """Remembers what was asked for last, so that answers to earlier questions are dropped when they arrive.

    A panel asks in the background and goes on; by the time an answer comes, another question may have been asked, or
    the project closed. ``only(slot)`` wraps the slot that takes the answer::

        if self._latest.ask(key):
            bench.start(count, title="count picks", on_done=self._latest.only(self._show), quiet=True)
    """

    def __init__(self) -> None:
        self.number = 0
        self._key: object = None
        self._closed = False

    def ask(self, key: object = None) -> bool:
        """Say that a question is asked now. False where it is the same as the last one: its answer is on its way.

        Parameters
        ----------
        key : object
            What the answer depends on; None for a question that is new each time.
        """
        if key is not None and key == self._key:
            return False
        self.forget()
        self._key = key
        return True

    def forget(self) -> None:
        """Drop the answer that is on its way, if any; the same question may be asked again."""
        self.number += 1
        self._key = None

    def close(self) -> None:
        """Drop every answer from now on."""
        self._closed = True

    def holds(self, number: int) -> bool:
        """Whether the question of this :attr:`number` is still the latest."""
        return number == self.number and not self._closed

    def only(self, slot: Callable[..., object]) -> Callable[..., None]:
        """A slot that does nothing once another question was asked, or after :meth:`close`."""
        number = self.number

        def take(*answer: Any) -> None:
            if self.holds(number):
                slot(*answer)

        return take


class WhenIdle(QTimer):
    """Does what it was given last, once nothing was given for a moment.

    Parameters
    ----------
    parent : QObject
    pause_ms : int
    """

    def __init__(self, parent: QObject, pause_ms: int = 150) -> None:
        super().__init__(parent)
        self._do: Callable[[], None] = lambda: None
        self.setSingleShot(True)
        self.setInterval(pause_ms)
        self.timeout.connect(lambda: self._do())

    def __call__(self, do: Callable[[], None]) -> None:
        """Do this then, instead of what was given before."""
        self._do = do
        self.start()
