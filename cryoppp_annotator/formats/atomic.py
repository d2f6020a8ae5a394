"""Write files aside and rename them: a reader sees the old files or the new ones, never half of either."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..errors import FormatError, disk_reason

#: From so many files on the whole disk is synchronised once, instead of each file by itself.
_MANY_FILES = 16
#: How the folder begins in which the files of a set wait; what a killed program left of it goes after a day.
_WAITING = ".unfinished-"
_DAY_S = 86_400.0
#: A disk that takes no more: what was being written is to blame, whatever was being read meanwhile.
_REFUSED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


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
        self.n_opened += 1
        self.on_file(self.n_opened)
        return target, os.path.join(self.waiting(), str(self.n_opened))

    def waiting(self) -> Path:
        """The folder in which the files wait until the set is whole."""
        if self.staging is None:
            make_folder(self.folder, self.made_folders)
            _sweep(self.folder)
            self.staging = Path(tempfile.mkdtemp(prefix=_WAITING, dir=self.folder))
        return self.staging

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
        for target in there:
            if os.path.isdir(target) and not os.path.islink(target):
                raise FormatError("is a folder where a file is to be written; nothing was written", Path(target))
        if len(self.staged) >= _MANY_FILES and hasattr(os, "sync"):
            os.sync()
        else:
            for aside in self.staged.values():
                _sync_file(Path(aside))
        self.sound.clear()  # a link may have been put there meanwhile
        for target in self.staged:
            if os.path.dirname(target) not in self.sound:
                make_folder(Path(self.sound_folder(target)), self.made_folders)
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
        _take_away(self.made_folders)


def make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and those above it; ``made`` gets each, so that they can be taken away again."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        if folder.parent == folder:
            break
        folder = folder.parent
    for parent in reversed(missing):
        parent.mkdir(exist_ok=True)
        made.append(parent)


def _take_away(made: Sequence[Path]) -> None:
    for folder in reversed(made):
        try:
            folder.rmdir()
        except OSError:
            continue  # something else was put there meanwhile


def _sweep(folder: Path) -> None:
    """Delete what a program that was killed while it wrote a set has left: no writing takes a day."""
    for left in folder.glob(f"{_WAITING}*"):
        try:
            is_old = time.time() - left.lstat().st_mtime > _DAY_S
        except OSError:
            continue
        if is_old and left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


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
def whole_set(
    folder: Path,
    on_file: Callable[[int], object] = lambda _n: None,
    *,
    may_replace: Callable[[Path], bool] = lambda _path: True,
) -> Iterator[None]:
    """As :func:`file_set`, and a disk that refuses is said in a sentence.

    Raises
    ------
    FormatError
        A file cannot be written: nothing of the set is left, and what was there before is intact. It names the folder.
    """
    try:
        with file_set(folder, on_file, may_replace=may_replace):
            yield
    except OSError as error:
        at = f" at {Path(os.fsdecode(error.filename)).name}" if error.errno in _REFUSED and error.filename else ""
        intact = "nothing was written, and what was there before is intact"
        raise FormatError(f"cannot be written ({disk_reason(error)}{at}); {intact}", folder) from error


@contextmanager
def waiting_folder(folder: Path) -> Iterator[Path]:
    """As :func:`whole_set`, for files that threads or other processes write: gives a folder in which they wait.

    Whatever lies in it at the end of the block takes its place in ``folder``, together with what :func:`replacing`
    wrote within the block.
    """
    with whole_set(folder):
        files = _open_set.get()
        assert files is not None
        waiting = files.waiting() / "by-name"
        waiting.mkdir()
        yield waiting
        for file in sorted(waiting.iterdir()):
            files.staged[os.path.join(files.folder, file.name)] = str(file)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder; what lies in it at the end of the block is moved into ``folder``, folders first.

    Raises
    ------
    FormatError
        Something of the same name is there already; nothing was moved.
    OSError
        A folder cannot be made. As after any exception, nothing is left, and folders that were made are gone.
    """
    made: list[Path] = []
    fresh = None
    try:
        make_folder(folder, made)
        _sweep(folder)
        fresh = Path(tempfile.mkdtemp(prefix=_WAITING, dir=folder))
        yield fresh
        inside = sorted(fresh.iterdir(), key=lambda path: (path.is_file(), path.name))
        for path in inside:
            if os.path.lexists(folder / path.name):
                raise FormatError("is there already; nothing was written. Choose another folder", folder / path.name)
        for path in inside:
            os.rename(path, folder / path.name)
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
        _take_away(made)


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
    with _naming(path):
        if files is None:
            with _alone(Path(os.path.abspath(path))) as aside:
                yield aside
            return
        place, beside = files.place(path)
        yield Path(beside)
        # a file that is written twice in one set is the later one
        if (before := files.staged.pop(place, None)) is not None:
            os.unlink(before)
        files.staged[place] = beside


@contextmanager
def _alone(target: Path) -> Iterator[Path]:
    made: list[Path] = []
    aside = None
    try:
        make_folder(target.parent, made)
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
        aside = Path(name)
        yield aside
        _sync_file(aside)
        os.chmod(aside, _mode_for(target))
        os.replace(aside, target)
    except BaseException:
        if aside is not None:
            aside.unlink(missing_ok=True)
        _take_away(made)
        raise
    _sync_folder(target.parent)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A disk that takes no more says which file it was."""
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSED:
            error.filename = os.fspath(path)
        raise


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
