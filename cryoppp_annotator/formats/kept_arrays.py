"""Arrays kept in a file that may be deleted at any time: whatever is wrong with it, it counts as not there."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of an ``.npz`` by name; None, with a line in the log, where it cannot be read.

    Never waits (a pipe of that name is no file) and never runs what somebody put into it (no pickle).
    """
    if not _is_file(path):
        return None
    try:
        # opened here: numpy leaves a damaged one open
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # zipfile, zlib and numpy promise no set
        _say(path, error)
        return None


def map_array(path: Path) -> NDArray[Any] | None:
    """The array of an ``.npy``, mapped; None, with a line in the log, where it cannot be read."""
    if not _is_file(path):
        return None
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return array if isinstance(array, np.ndarray) else None
    except Exception as error:
        _say(path, error)
        return None


def _is_file(path: Path) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    if not stat.S_ISREG(mode):
        log.warning("%s is no ordinary file; what it should hold is made anew", path)
        return False
    return True


def _say(path: Path, error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    log.warning("%s cannot be read (%s); what it held is made anew", path, reason)
