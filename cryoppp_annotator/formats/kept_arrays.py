"""Arrays and texts in files that may be deleted at any time: a damaged one counts as absent."""

from __future__ import annotations

import json
import logging
import os
import stat
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..model.npy import read_npy, read_npy_header

log = logging.getLogger(__name__)

#: No text of ours is longer; what is known of 50,000 files takes 10 MB.
_LONGEST_TEXT = 256 * 2**20
#: No arrays of ours take more; a packed file of some megabytes can say a thousand times that.
_MOST_UNPACKED = 2**30


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of an ``.npz`` by name; None, with a line in the log, where it cannot be read.

    Never waits (a pipe of that name is no file) and never runs code from it (no pickle).
    """
    if not _is_file(path):
        return None
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        _say(path, error)
        return None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` by name. Never waits and never runs code from it (no pickle).

    Raises
    ------
    OSError
        There is none, or it cannot be read.
    ValueError
        It is no ordinary file, damaged, or unpacks to more than anything that is kept.
    """
    with open_kept(path) as stream:  # opened here: numpy leaves a damaged one open
        try:
            with zipfile.ZipFile(stream) as archive:
                _refuse_bomb(archive)
                return {name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()}
        except (OSError, ValueError):
            raise
        except Exception as error:  # zipfile, zlib and numpy promise no set
            raise ValueError(str(error).strip().partition("\n")[0] or type(error).__name__) from error


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as stream:
        return read_npy(stream)


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    if sum(entry.file_size for entry in archive.infolist()) > _MOST_UNPACKED:
        raise ValueError("it unpacks to more than anything that is kept")


def map_array(path: Path) -> NDArray[Any] | None:
    """The array of an ``.npy``, mapped; None, with a line in the log, where it cannot be read."""
    if not _is_file(path):
        return None
    try:
        with open_kept(path) as stream:
            header = read_npy_header(stream)
            return np.memmap(stream, header.dtype, "r", header.offset, header.shape, header.order)
    except Exception as error:
        _say(path, error)
        return None


def open_kept(path: Path) -> BinaryIO:
    """Open a file to read bytes. Never waits.

    Raises
    ------
    OSError
        There is none, or it cannot be read.
    ValueError
        It is no ordinary file but a pipe, a device or a folder.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path} is no ordinary file")
    return os.fdopen(handle, "rb")


def read_kept_text(path: Path) -> str:
    """A kept UTF-8 text. Never waits: a pipe or device of that name is no file.

    Raises
    ------
    OSError
        There is none, or it cannot be read.
    ValueError
        It is no ordinary file, no text, or larger than anything that is kept.
    """
    with open_kept(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _LONGEST_TEXT:
            raise ValueError(f"{path} is larger than anything that is kept")
        return stream.read(size).decode("utf-8")  # as many bytes are set aside as are asked for


def read_kept_json(path: Path) -> Any:
    """What a kept JSON text holds; as :func:`read_kept_text`. Raises OSError, ValueError."""
    try:
        return json.loads(read_kept_text(path))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def _is_file(path: Path) -> bool:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    if not stat.S_ISREG(mode):
        log.warning("%s is no ordinary file; its contents are computed again", path)
        return False
    return True


def _say(path: Path, error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    log.warning("%s cannot be read (%s); its contents are computed again", path, reason)
