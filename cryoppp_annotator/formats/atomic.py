"""Write a file aside and rename it: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an exception.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder is made where it is missing, a symbolic link is followed.

    Raises
    ------
    OSError
        The file cannot be written. As after any other exception, the old file is intact and no temporary is left.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, _mode_for(target))
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_text(path: Path, text: str) -> Path:
    r"""Write ``text`` as UTF-8 with ``\n`` line ends through :func:`replacing`; returns ``path``."""
    with replacing(path) as stream:
        stream.write(text.encode("utf-8"))
    return path


def _mode_for(target: Path) -> int:
    """Permission bits of the file that is replaced, or what a newly made file would get."""
    try:
        return target.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system lets a folder be opened (not on Windows)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # some network file systems refuse; the file itself is on disk
    finally:
        os.close(handle)
