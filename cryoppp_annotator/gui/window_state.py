"""What the window remembers of a project until it is opened again: thresholds, the picker, the contrast.

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
from .layers.picture_layer import PictureLayer

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
        own = _numbers(self._entries, "set thresholds")
        focus.drawn.set_thresholds = {int(name): float(value) for name, value in own}
        focus.drawn.hidden_sets = {int(name) for name, value in _numbers(self._entries, "hidden sets") if value}
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_PAUSE_MS)
        self._pause.timeout.connect(self._write)
        focus.drawn.threshold_changed.connect(self._later)
        focus.drawn.changed.connect(self._later)

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

    def with_contrast(self, layer: PictureLayer) -> PictureLayer:
        """Give a layer the contrasts it had, raw and denoised, and keep what is chosen."""
        layer.contrasts.update(_pairs(self.get("contrast")))
        layer.on_contrast = lambda: self.put("contrast", {kind: list(pair) for kind, pair in layer.contrasts.items()})
        return layer

    def close(self) -> None:
        """Write what is not written yet."""
        self._focus.drawn.threshold_changed.disconnect(self._later)
        self._focus.drawn.changed.disconnect(self._later)
        if self._pause.isActive():
            self._pause.stop()
            self._write()

    def _later(self) -> None:
        if self._path is not None:
            self._pause.start()

    def _write(self) -> None:
        if self._path is None:
            return
        drawn = self._focus.drawn
        self._entries["thresholds"] = drawn.thresholds
        self._entries["set thresholds"] = {str(i): value for i, value in drawn.set_thresholds.items()}
        self._entries["hidden sets"] = {str(i): 1 for i in sorted(drawn.hidden_sets)}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps(self._entries))
        except (OSError, AnnotatorError) as error:
            log.info("the window's state is not kept: %s", error)


def _numbers(entries: dict[str, Any], name: str) -> list[tuple[str, float]]:
    """Numbers by pick set, as they were written; what is none is passed over."""
    stored = entries.get(name)
    pairs = stored.items() if isinstance(stored, dict) else ()
    return [(k, v) for k, v in pairs if k.isdecimal() and isinstance(v, int | float) and math.isfinite(v)]


def _pairs(entry: Any) -> dict[str, tuple[float, float]]:
    """What was kept as pairs of numbers, the lower one first."""
    pairs = entry.items() if isinstance(entry, dict) else ()
    return {
        str(kind): (float(pair[0]), float(pair[1]))
        for kind, pair in pairs
        if isinstance(pair, list)
        and len(pair) == 2
        and all(isinstance(share, int | float) and math.isfinite(share) for share in pair)
        and pair[0] < pair[1]
    }
