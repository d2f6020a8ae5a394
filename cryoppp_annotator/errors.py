"""The errors this program raises on purpose. Each says what happened, where, and what to do."""

from __future__ import annotations

import errno
from pathlib import Path


class AnnotatorError(Exception):
    """Base of every error a user may be shown as one sentence without a traceback."""


class FormatError(AnnotatorError):
    """A file is not what its name or its place promises.

    Parameters
    ----------
    message : str
        What is wrong and what was expected.
    path : Path, optional
        The file; put in front of the message.
    line : int, optional
        1-based line of the first bad row.
    """

    def __init__(self, message: str, path: Path | str | None = None, line: int | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.line = line
        self.detail = message
        where = "" if path is None else f"{path}{'' if line is None else f', line {line}'}: "
        super().__init__(where + message)


class NoPicks(FormatError):
    """A sound file that by its nature holds no picks, in a place where some were expected."""


class OutsideError(FormatError):
    """A project names a file outside the folders of its micrographs, which was not allowed."""

    def __init__(self, message: str, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        super().__init__(message)


class ProjectError(AnnotatorError):
    """The project database cannot be read or written; what was confirmed before is safe."""


class ConflictError(ProjectError):
    """Someone else changed the same rows since; the step (its id in the history, 0 unknown) stays as it is."""

    def __init__(self, message: str, step: int = 0) -> None:
        self.step = step
        super().__init__(message)


class EngineError(AnnotatorError):
    """An outside engine or a plugin failed."""


class Cancelled(AnnotatorError):
    """The user cancelled a job. Not a failure."""


class Refused(AnnotatorError):
    """An edit that would make no sense (a pick on top of another); nothing was changed."""


#: What the system's word for an error means to a person.
_DISK_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your quota on this disk is used up",
    errno.EFBIG: "the file would be larger than the disk or a limit allows",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "you may not write there",
    errno.EIO: "the disk reports an error",
    errno.ENAMETOOLONG: "the name is too long for this disk",
    errno.EMFILE: "too many files are open",
    errno.ENOMEM: "there is not enough free memory",
}


def disk_reason(error: OSError) -> str:
    """Why the system refused, in words: *the disk is full* instead of ``[Errno 28]``."""
    return _DISK_REASONS.get(error.errno or 0, error.strerror or str(error))


#: Work on one picture holds so many arrays of the size of the one that could not be had, beside what is held already.
_ARRAYS_AT_ONCE = 8


def lacks_memory(error: BaseException | None) -> bool:
    """Whether it was for want of memory: Python's and numpy's error, or the system's where a file is mapped."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def memory_reason(error: BaseException) -> str:
    """What would have been enough, in words, instead of numpy's ``Unable to allocate``."""
    size, held = getattr(error, "_total_size", None), _held_bytes()
    if isinstance(size, int | float):
        lacking, enough = f"{size / 2**20:,.0f} MB more", held + _ARRAYS_AT_ONCE * size
    else:
        lacking, enough = f"more than the {held / 2**30:.1f} GB that it has", 1.5 * held
    return (
        f"there is not enough free memory: {lacking} could not be had, and about {enough / 2**30:.1f} GB for this "
        "program would be enough. Close other programs, or raise its limit"
    )


def _held_bytes() -> float:
    """Address space of this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * 4096.0
