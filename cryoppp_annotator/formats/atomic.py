"""Write files aside and rename them: a reader sees the old files or the new ones, never half of either."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..errors import FormatError

#: From so many files on the whole disk is synchronised once, instead of each file by itself.
_MANY_FILES = 16


class WouldOverwrite(FormatError):
    """Files are there that are not of an earlier export. Nothing was written."""

    def __init__(self, files: Sequence[Path]) -> None:
        names = ", ".join(file.name for file in files[:3]) + (" ..." if len(files) > 3 else "")
        count = "a file that is" if len(files) == 1 else f"{len(files):,} files that are"
        super().__init__(
            f"holds {count} not of an earlier export, or edited since ({names}); nothing was written. Choose another "
            "folder, or say that they may be replaced (--overwrite)",
            files[0].parent,
        )
        self.files = tuple(files)


@dataclass(eq=False)
class _FileSet:
    """Files that are to appear together."""

    folder: Path
    staging: Path | None = None
    #: Where each file lies meanwhile, by its final place.
    staged: dict[str, str] = field(default_factory=dict)
    #: Folders of the set that were seen to be neither outside nor behind a link.
    sound: set[str] = field(default_factory=set)
    made_folders: list[Path] = field(default_factory=list)
    n_opened: int = 0
    on_file: Callable[[int], object] = lambda _n: None
    may_replace: Callable[[Path], bool] = lambda _path: True

    def place(self, path: Path) -> tuple[str, str]:
        """The final place of a file, and where it lies until the set is whole."""
        target = os.path.abspath(path)
        self.sound_folder(target)
        if self.staging is None:
            self._make(self.folder)
            self.staging = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.folder))
        self.n_opened += 1
        self.on_file(self.n_opened)
        return target, os.path.join(self.staging, str(self.n_opened))

    def sound_folder(self, target: str) -> str:
        """The folder of a file of the set. Raises FormatError where it lies outside, or a link leads to it."""
        folder = os.path.dirname(target)
        if folder not in self.sound:
            _inside(self.folder, Path(target))
            self.sound.add(folder)
        return folder

    def commit(self) -> None:
        there = [target for target in self.staged if os.path.lexists(target)]
        foreign = [path for path in map(Path, there) if not self.may_replace(path)]
        if foreign:
            raise WouldOverwrite(foreign)
        if len(self.staged) >= _MANY_FILES and hasattr(os, "sync"):
            os.sync()
        else:
            for aside in self.staged.values():
                _sync_file(Path(aside))
        self.sound.clear()  # a link may have been put there meanwhile
        for target in self.staged:
            if os.path.dirname(target) not in self.sound:
                self._make(Path(self.sound_folder(target)))
        for target in there:
            os.chmod(self.staged[target], _mode_for(Path(target)))
        for target, aside in self.staged.items():
            os.replace(aside, target)
        for folder in self.sound:
            _sync_folder(Path(folder))
        self.made_folders.clear()

    def close(self) -> None:
        """Take the unfinished files away, and the folders that were made for them."""
        if self.staging is not None:
            shutil.rmtree(self.staging, ignore_errors=True)
        for folder in reversed(self.made_folders):
            try:
                folder.rmdir()
            except OSError:
                continue  # something else was put there meanwhile

    def _make(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            if folder.parent == folder:
                break
            folder = folder.parent
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            self.made_folders.append(parent)


_open_set: ContextVar[_FileSet | None] = ContextVar("open_set", default=None)


@contextmanager
def file_set(
    folder: Path,
    on_file: Callable[[int], object] = lambda _n: None,
    *,
    may_replace: Callable[[Path], bool] = lambda _path: True,
) -> Iterator[None]:
    """Let all files that :func:`replacing` writes within the block appear together at its end, or none of them.

    Parameters
    ----------
    folder : Path
        Nothing is written outside it, whatever names are asked for; it is made where it is missing.
    on_file : callable
        Gets how many files have been begun, before each; it may raise.
    may_replace : callable
        Whether a file that is there may be replaced; where one may not, nothing is written.

    A set within a set is a set of its own: its files are there at the end of the inner block.

    Raises
    ------
    FormatError
        A file would lie outside the folder, or behind a link in it.
    WouldOverwrite
        A file is there that may not be replaced.
    OSError
        A file cannot be written. As after any exception, the files that were there before are intact, and nothing
        of the set is left.
    """
    files = _FileSet(Path(os.path.abspath(folder)), on_file=on_file, may_replace=may_replace)
    token = _open_set.set(files)
    try:
        yield
        files.commit()
    finally:
        _open_set.reset(token)
        files.close()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the place of ``path`` when the block ends without an exception.

    Within :func:`file_set` it takes its place at the end of that.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder is made where it is missing. A symbolic link is replaced: what it
        points to is not written.

    Raises
    ------
    OSError
        The file cannot be written. As after any other exception, the old file is intact and no temporary is left.
    FormatError
        The file does not belong to the set that is being written (see :func:`file_set`).
    """
    with replacing_by_name(path) as aside, open(aside, "wb") as stream:
        yield stream


@contextmanager
def replacing_by_name(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a writer that opens its file itself: gives the temporary file's name."""
    files = _open_set.get()
    if files is not None:
        place, beside = files.place(path)
        yield Path(beside)
        # a file that is written twice in one set is the later one
        if (before := files.staged.pop(place, None)) is not None:
            os.unlink(before)
        files.staged[place] = beside
        return
    target = Path(os.path.abspath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        _sync_file(aside)
        os.chmod(aside, _mode_for(target))
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def write_text(path: Path, text: str) -> Path:
    r"""Write ``text`` as UTF-8 with ``\n`` line ends through :func:`replacing`; returns ``path``.

    Bytes of a file's name that are no Unicode stand escaped in it (``\udcff``): a report names them nevertheless.
    """
    with replacing(path) as stream:
        stream.write(text.encode("utf-8", "backslashreplace"))
    return path


def _inside(folder: Path, path: Path) -> Path:
    """The absolute path of a file of a set. Raises FormatError where it leaves the folder or passes a link in it."""
    target = Path(os.path.abspath(path))
    if target == folder or not target.is_relative_to(folder):
        raise FormatError(f"would be written outside {folder}; nothing was written", path)
    for parent in target.parents:
        if parent == folder:
            break
        if parent.is_symlink():
            raise FormatError("is a link in the folder to be written to; remove it, or choose another folder", parent)
    return target


def _mode_for(target: Path) -> int:
    """Permission bits of the file that is replaced, or what a newly made file would get."""
    try:
        if not target.is_symlink():
            return target.stat().st_mode & 0o777
    except FileNotFoundError:
        pass
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


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
