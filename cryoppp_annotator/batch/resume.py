"""What a command has finished, so that a second start continues where the first stopped."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ..errors import AnnotatorError, Cancelled, FormatError, Refused, disk_reason
from ..formats.atomic import write_text
from ..formats.image import images
from ..formats.kept_arrays import read_kept_text
from ..imaging.filters import fft_workers
from ..jobs.each import each
from ..model.context import JobContext
from ..model.file_names import list_name_problem

log = logging.getLogger(__name__)
#: Most micrographs that are read at once on this computer.
_MOST_THREADS = 4


class Progress:
    """A text file with one JSON line for each finished micrograph: its name, what it was made from, the result.

    Parameters
    ----------
    path : Path
        Made with the first line; its folder too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def finished(self) -> dict[str, tuple[Any, Any]]:
        """Key and result by name; a line cut off in the middle says nothing. Raises FormatError where unreadable."""
        results: dict[str, tuple[Any, Any]] = {}
        try:
            lines = read_kept_text(self.path).splitlines()
        except FileNotFoundError:
            return results
        except (OSError, ValueError) as error:
            raise FormatError(f"cannot be read ({error})", self.path) from error
        for line in lines:
            try:
                entry = json.loads(line)
                results[str(entry["name"])] = entry["key"], entry["result"]
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
        return results

    def note(self, name: str, key: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Add a line. Raises FormatError where it cannot be written."""
        line = json.dumps({"name": name, "key": key, "result": result})
        size = -1
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._refuse_links()
            with self.path.open("a", encoding="utf-8") as stream:
                size = stream.tell()
                stream.write(f"\n{line}\n" if size else f"{line}\n")
        except OSError as error:
            self._take_back(size)
            raise FormatError(
                f"cannot be written ({disk_reason(error)}); what it lists already is kept", self.path
            ) from error

    def _refuse_links(self) -> None:
        """What a link leads to is not written: a file of our own with the same lines takes its place."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return
        if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1:
            try:
                text = read_kept_text(self.path)
            except (FileNotFoundError, ValueError):
                text = ""
            write_text(self.path, text)

    def _take_back(self, size: int) -> None:
        """Cut off a line that is not whole; no file of no lines is left."""
        with contextlib.suppress(OSError):
            if size > 0:
                os.truncate(self.path, size)
            elif size == 0:
                self.path.unlink()


def micrographs_of(sources: Sequence[Path | str] | Mapping[str, Path]) -> dict[str, Path]:
    """Micrographs by name, in natural order of each source.

    Parameters
    ----------
    sources : sequence of path, or mapping of name to Path
        Files, folders and lists; or micrographs with names that differ where their files' names do not.

    Raises
    ------
    Refused
        There are none, or two of one name.
    FormatError
        A named path does not exist.
    """
    if isinstance(sources, Mapping):
        return dict(sources)
    paths = list(dict.fromkeys(path for source in sources for path in images.find_micrographs(source)))
    if not paths:
        raise Refused("there are no micrographs")
    named: dict[str, Path] = {}
    for path in paths:
        other = named.setdefault(images.micrograph_name(path), path)
        if other != path:
            raise Refused(f"{other} and {path} have the same name; do them into two folders")
    return named


class Task(Protocol):
    """What is done with one micrograph."""

    @property
    def name(self) -> str:
        """Of the micrograph, without folder and suffix."""

    @property
    def path(self) -> Path:
        """Of the micrograph, as a person named it."""

    @property
    def key(self) -> dict[str, Any]:
        """What the result is made from: another key, and it is done again."""


T = TypeVar("T", bound=Task)


@dataclass(slots=True)
class Work(Generic[T]):
    """Micrographs of one start of a command: what is to be done, and what came out.

    Attributes
    ----------
    tasks : list of task
        To be done.
    results : dict of result by name
        Of this start and of earlier ones.
    failed : dict of reason by path
    n_kept : int
        Results of earlier starts.
    """

    tasks: list[T] = field(default_factory=list)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    n_kept: int = 0

    @property
    def n_done(self) -> int:
        """Results of this start."""
        return len(self.results) - self.n_kept


def plan_work(
    named: Mapping[str, Path],
    progress: Progress,
    task_of: Callable[[str, Path], T],
    is_complete: Callable[[T], bool] = lambda task: True,
    *,
    use: Callable[[dict[str, Any]], object] = lambda result: None,
    context: JobContext,
) -> Work[T]:
    """Look at every micrograph: what an earlier start has finished and is unchanged is not done again.

    Parameters
    ----------
    named : mapping of name to path
    progress : Progress
        What earlier starts have finished; its folder is made.
    task_of : callable
        Gets name and path; an AnnotatorError that it raises is the reason why that micrograph failed.
    is_complete : callable
        Whether everything that the task writes is there.
    use : callable
        Makes of a result what is made of it later; where that fails, its micrograph is done again.

    Raises
    ------
    FormatError
        The folder cannot be made, or the record of earlier starts cannot be read.
    Cancelled
    """
    work, finished = Work[T](), progress.finished()
    for i, (name, path) in enumerate(named.items()):
        context.progress(i, len(named), f"looking at {path.name}")
        if problem := list_name_problem(path.name):
            work.failed[str(path)] = problem
            continue
        try:
            task = task_of(name, path)
        except AnnotatorError as error:
            work.failed[str(path)] = str(error)
            continue
        key, result = finished.get(name, (None, None))
        if key == task.key and is_complete(task) and _is_usable(result, use):
            work.results[name] = result
        else:
            work.tasks.append(task)
    work.n_kept = len(work.results)
    folder = progress.path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FormatError(f"cannot be made ({disk_reason(error)})", folder) from error
    return work


def _is_usable(result: Any, use: Callable[[dict[str, Any]], object]) -> bool:
    """Whether what a file of results says makes sense: it lies where anybody may have changed it."""
    try:
        use(result)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        log.info("a result of an earlier start makes no sense (%r); it is done again", error)
        return False
    return isinstance(result, dict)


def do_work(
    work: Work[T],
    function: Callable[..., dict[str, Any]],
    progress: Progress,
    *,
    scheduler: str | None,
    context: JobContext,
) -> None:
    """Call ``function(task, context=...)`` for each task; results are noted as they come, failures are kept.

    Raises
    ------
    FormatError
        A result cannot be noted.
    Cancelled
    """
    threads = min(fft_workers(), _MOST_THREADS)
    with closing(each(function, work.tasks, threads=threads, scheduler=scheduler, context=context)) as answers:
        for task, answer in answers:
            if isinstance(answer, Cancelled):
                raise answer
            if isinstance(answer, AnnotatorError):
                work.failed[str(task.path)] = str(answer)
            elif isinstance(answer, BaseException):
                log.debug("%s failed", task.path, exc_info=answer)
                work.failed[str(task.path)] = f"{type(answer).__name__}: {answer}"
            else:
                work.results[task.name] = answer
                progress.note(task.name, task.key, answer)
