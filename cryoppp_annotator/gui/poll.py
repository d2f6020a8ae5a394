"""What other windows and curators did meanwhile comes onto the screen."""

from __future__ import annotations

import time

from qtpy.QtCore import QObject, QTimer, Signal

from ..errors import AnnotatorError
from ..session.core.session import Session

#: Between two looks, ms.
_EVERY_MS = 2000


class Poll(QTimer):
    """Asks the project every two seconds whether somebody else has written.

    A server that does not answer is asked less often: it must not keep the window waiting most of the time.
    """

    failed = Signal(str, str)  # text, level

    def __init__(self, session: Session, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._not_before = 0.0
        self.setInterval(_EVERY_MS)
        self.timeout.connect(self._ask)

    def _ask(self) -> None:
        begun = time.monotonic()
        if begun < self._not_before:
            return
        try:
            self._session.poll()
        except AnnotatorError as error:
            self._not_before = time.monotonic() + 10 * (time.monotonic() - begun)
            self.failed.emit(str(error), "error")
