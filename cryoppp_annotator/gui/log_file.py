"""The program's log: a file at home that does not grow beyond a few megabytes."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
from pathlib import Path

from ..session.core.opening import home

_LOGGERS = ("cryoppp_annotator", "napari")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MOST_BYTES = 1_000_000
_OLDER = 2


def log_path() -> Path:
    """Where the log is written."""
    return home() / "logs" / "cryoppp-annotator.log"


class LogFile:
    """What is logged while a window is open, in a file; one that cannot be written is as none."""

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None
        self._levels = {name: logging.getLogger(name).level for name in _LOGGERS}
        with contextlib.suppress(OSError):
            log_path().parent.mkdir(parents=True, exist_ok=True)
            handler = logging.handlers.RotatingFileHandler(
                log_path(), maxBytes=_MOST_BYTES, backupCount=_OLDER, encoding="utf-8", delay=True
            )
            handler.setFormatter(logging.Formatter(_FORMAT))
            self._handler = handler
            for name in _LOGGERS:
                logging.getLogger(name).addHandler(handler)
            logging.getLogger(_LOGGERS[0]).setLevel(logging.INFO)

    def close(self) -> None:
        """Write no more."""
        handler, self._handler = self._handler, None
        if handler is not None:
            for name in _LOGGERS:
                logging.getLogger(name).removeHandler(handler)
                logging.getLogger(name).setLevel(self._levels[name])
            handler.close()


def read_log() -> str:
    """The log, the older part first; empty where there is none."""
    older = [log_path().with_name(f"{log_path().name}.{k}") for k in range(_OLDER, 0, -1)]
    texts = []
    for path in (*older, log_path()):
        with contextlib.suppress(OSError):
            texts.append(path.read_text(encoding="utf-8", errors="replace"))
    return "".join(texts)
