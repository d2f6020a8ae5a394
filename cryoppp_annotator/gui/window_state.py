"""What the window remembers of a project until it is opened again: thresholds, the picker.

Nothing of it is an annotation. It lies in the project's deletable cache, and one that cannot be read or written is as
none.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QTimer

from ..errors import AnnotatorError
from ..formats.atomic import write_text
from ..formats.kept_arrays import read_kept_json
from ..session.core.focus import Focus

log = logging.getLogger(__name__)

_PAUSE_MS = 400


class WindowState(QObject):
    """A few values, written when they have not changed for a moment.

    Parameters
    ----------
    focus : Focus
        Gets the thresholds it had.
    """

    def __init__(self, focus: Focus) -> None:
        super().__init__()
        self._focus = focus
        store = focus.session.store
        self._path: Path | None = None if store.read_only else store.folder / "cache" / "window.json"
        self._entries = self._read(store.folder / "cache" / "window.json")
        thresholds = self._entries.get("thresholds")
        if isinstance(thresholds, dict):
            focus.drawn.thresholds = {
                str(name): float(value)
                for name, value in thresholds.items()
                if isinstance(value, int | float) and math.isfinite(value)
            }
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._write)
        focus.drawn.threshold_changed.connect(self._later)

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        try:
            entry = read_kept_json(path)
        except (OSError, ValueError):
            return {}
        return entry if isinstance(entry, dict) else {}

    def get(self, name: str) -> Any:
        """A value as it was put; None where there is none."""
        return self._entries.get(name)

    def put(self, name: str, value: Any) -> None:
        """Remember a value that JSON can hold."""
        if self._entries.get(name) != value:
            self._entries[name] = value
            self._later()

    def close(self) -> None:
        """Write what is not written yet."""
        self._focus.drawn.threshold_changed.disconnect(self._later)
        if self._pause.isActive():
            self._pause.stop()
            self._write()

    def _later(self) -> None:
        if self._path is not None:
            self._pause.start()

    def _write(self) -> None:
        if self._path is None:
            return
        self._entries["thresholds"] = self._focus.drawn.thresholds
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._entries))
        except (OSError, AnnotatorError) as error:
            log.info("the window's state is not kept: %s", error)
