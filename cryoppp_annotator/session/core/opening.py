"""Finding, making and opening projects: what a path given by a person means."""

from __future__ import annotations

import getpass
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import FormatError, ProjectError
from ...formats.image import images
from ...model.context import JobContext
from ...model.micrograph import Micrograph
from ...store.connecting import DATABASE_NAME, exists, is_project, take_away
from ...store.home import home as home
from ...store.journal import NOTE, Journal
from ...store.server_address import stands_for_server
from ...store.store import Store
from . import bookkeeping, watch
from .edits import count_of
from .session import Session
from .watch import describe, relative, remember_sources, same_content

#: Name of the project folder made beside the data.
FOLDER_NAME = "annotator-project"

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class Plan:
    """What opening a path will do.

    Attributes
    ----------
    project : Path
        The project's folder, existing or to be made.
    data_root : Path or None
        Folder of the micrographs; None where the project itself knows.
    micrographs : tuple of Path
        Images found.
    exists : bool
        Whether there is a project already.
    note : str
        Something the curator should know ("the data folder is read-only; the project is in ...").
    """

    project: Path
    data_root: Path | None
    micrographs: tuple[Path, ...]
    exists: bool
    note: str = ""
    #: What was opened: a folder, a pattern, files; new micrographs are looked for there.
    sources: tuple[str, ...] = ()


def default_curator() -> str:
    """Login name, or what the environment variable CRYOPPP_CURATOR says."""
    try:
        return os.environ.get("CRYOPPP_CURATOR") or getpass.getuser()
    except (OSError, KeyError):
        return "curator"


def can_write(folder: Path) -> bool:
    """Whether a project may be put into ``folder``. A folder without any write bit is left alone even by root."""
    try:
        return bool(folder.stat().st_mode & 0o222) and os.access(folder, os.W_OK)
    except OSError:
        return False


def plan(path: Path, project: Path | None = None) -> Plan:
    """Decide what a path means: a project, a folder of micrographs, a CryoPPP data set, or one image.

    Raises
    ------
    ProjectError
        There is nothing there, or nothing to look at.
    """
    path = path.expanduser().absolute()
    if path.name == DATABASE_NAME:
        path = path.parent
    if is_project(path):
        return Plan(path, None, (), True)
    if not path.exists():
        raise ProjectError(f"there is no {path}")
    try:
        images_found = tuple(images.find_micrographs(path))
    except FormatError as error:
        raise ProjectError(str(error)) from error
    if not images_found:
        raise ProjectError(f"{path} holds no micrographs (looked for .mrc, .mrcs, .tif, .png, .jpg, also compressed)")
    root = path if path.is_dir() else path.parent
    folder, note = (project.expanduser().absolute(), "") if project is not None else _default_folder(root)
    return Plan(folder, root, images_found, exists(folder), note, (str(path),))


def _default_folder(root: Path) -> tuple[Path, str]:
    beside = root / FOLDER_NAME
    if is_project(beside) and can_write(beside):
        return beside, ""
    if can_write(root):
        return beside, ""
    folder = at_home(root)
    return folder, f"{root} is read-only, so the annotations are kept in {folder}"


def at_home(root: Path) -> Path:
    """Where the project of micrographs in ``root`` is kept that cannot lie beside them."""
    tag = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    return home() / "projects" / f"{root.name}-{tag}"


def find_project(path: Path) -> Path:
    """The project a path means: its folder, its database, the folder of micrographs it was made for, one of those.

    Raises
    ------
    ProjectError
        There is none.
    """
    path = path.expanduser().absolute()
    if path.name == DATABASE_NAME or path.is_file():
        path = path.parent
    window = _default_folder(path)[0]  # where a window on that folder keeps it
    for folder in (path, window, path / FOLDER_NAME, at_home(path), at_home(path.resolve())):
        if is_project(folder):
            return folder
    raise ProjectError(f"there is no project in {path} (no {DATABASE_NAME}), and none of it in {home() / 'projects'}")


def open_project(folder: Path, *, curator: str | None = None, read_only: bool = False) -> Session:
    """Open an existing project. Raises ProjectError."""
    store = Store.open(folder, read_only=read_only)
    try:
        stored = store.settings().get("data_root", "")
        root = Path(stored) if stored else folder.parent
        if not root.is_absolute():
            root = (folder / root).resolve()
        return Session(store, curator=curator or default_curator(), data_root=root)
    except BaseException:
        store.close()
        raise


def open_plan(plan: Plan, *, curator: str | None = None, context: JobContext = _QUIET) -> Session:
    """Open or make the project of a plan, register its micrographs, and see what has become of those it has."""
    fresh = not plan.project.exists()
    session = _opened(plan, curator) if plan.exists else _made(plan, curator or default_curator())
    try:
        if plan.micrographs:
            bookkeeping.add_micrographs(session, describe_new(session, plan.micrographs, context))
        if plan.exists:
            remember_sources(session, plan.sources)
            watch.check(session, context=context)
    except BaseException:
        session.close()
        if not plan.exists:
            take_away(plan.project, folder_too=fresh)
        raise
    return session


def _opened(plan: Plan, curator: str | None) -> Session:
    session = open_project(plan.project, curator=curator)
    if plan.data_root is not None and missing(session):
        _follow_move(session, plan.data_root)
    return session


def _made(plan: Plan, curator: str) -> Session:
    if plan.data_root is None:
        raise ProjectError(f"{plan.project}: no micrographs to make a project of")
    fresh = not plan.project.exists()
    store = Store.create(plan.project)
    try:
        settings: dict[str, Any] = {"data_root": _portable(plan.data_root, plan.project)}
        if plan.sources:
            settings[watch.SOURCES] = [relative(Path(source), plan.data_root) for source in plan.sources]
        store.refresh_micrographs((), "make the project", curator, settings)
    except BaseException:
        store.close()
        take_away(plan.project, folder_too=fresh)
        raise
    session = Session(store, curator=curator, data_root=plan.data_root)
    watch.allow_sources(session, plan.sources)
    return session


def averaged_note(session: Session) -> str:
    """What is said of micrographs that are stacks of several frames, whose average is used; empty where none is."""
    averaged = [m.name for m in session.micrographs if m.n_frames > 1 and m.frame < 0 and not m.problem]
    if not averaged:
        return ""
    names = ", ".join(averaged[:3]) + (" ..." if len(averaged) > 3 else "")
    what = "a stack of several frames; its" if len(averaged) == 1 else "stacks of several frames; their"
    are = "is" if len(averaged) == 1 else "are"
    return f"{count_of(len(averaged), 'micrograph')} {are} {what} average is used ({names})"


def journal_note(session: Session) -> str:
    """What is said once of a project on a disk that has no shared memory; empty everywhere else, and from then on."""
    flag = "told_of_the_journal"
    if session.store.journal != Journal.ROLLBACK or session.store.read_only or session.settings.values.get(flag):
        return ""
    bookkeeping.remember(session, {flag: True})
    return NOTE


def _portable(root: Path, folder: Path) -> str:
    """Relative where the project lies inside the data, so that both can move together."""
    if stands_for_server(folder):
        return str(root.absolute())  # each curator may have another folder
    try:
        inside = folder.resolve().relative_to(root.resolve())
    except ValueError:
        return str(root)
    return os.path.join(*[".."] * len(inside.parts)) if inside.parts else "."


def describe_new(session: Session, paths: Iterable[Path], context: JobContext = _QUIET) -> list[Micrograph]:
    """Probe the images the project does not know yet; a broken one is kept with its problem."""
    known = {m.path for m in session.micrographs}
    named = [(path, relative(path, session.data_root)) for path in paths]
    fresh = [(path, name) for path, name in named if name not in known]
    described = []
    for i, (path, name) in enumerate(fresh):
        if i % 50 == 0:
            context.progress(i, len(fresh), f"reading headers {i}/{len(fresh)}")
        described.append(describe(path, name))
    if fresh:
        context.progress(len(fresh), len(fresh), f"{count_of(len(fresh), 'header')} read")
    return described


def missing(session: Session, sample: int = 20) -> list[Micrograph]:
    """Micrographs, among the first ``sample``, whose file is not where the project expects it."""
    return [m for m in session.micrographs[:sample] if not session.path_of(m).exists()]


def find_moved(session: Session, root: Path) -> Path:
    """The folder under which the project's relative paths exist, given where the person pointed.

    Raises
    ------
    ProjectError
        None of the project's micrographs is there, or they are other images of the same name.
    """
    root = root.expanduser().absolute()
    sample = [m for m in session.micrographs if not Path(m.path).is_absolute()][:20] or session.micrographs[:20]
    for candidate in (root, root.parent, root / "micrographs"):
        existing = [m for m in sample if (candidate / m.path).exists()]
        if existing:
            _refuse_others(existing, lambda m, base=candidate: base / m.path)  # type: ignore[misc]
            return candidate
    raise ProjectError(f"none of the project's micrographs is in {root} (looked for {sample[0].path})")


def relink(session: Session, root: Path, *, context: JobContext = _QUIET) -> watch.FileNews:
    """Say where the micrographs are now, and see which of them can be read again.

    Raises
    ------
    ProjectError
        None of the project's micrographs is there, or they are other images of the same name.
    """
    bookkeeping.move_data_root(session, find_moved(session, root))
    return watch.check(session, context=context)


def _follow_move(session: Session, root: Path) -> None:
    """The project's micrographs are gone from where they were: take the folder the person names now, if it has them."""
    if len(missing(session)) < len(session.micrographs[:20]):
        return
    try:
        bookkeeping.move_data_root(session, find_moved(session, root))
    except ProjectError:
        return  # other micrographs: they are added beside the old ones


def _refuse_others(micrographs: Sequence[Micrograph], path_of: Callable[[Micrograph], Path]) -> None:
    """Refuse a folder of other images with the same names; one image that was replaced is noticed later."""
    known = [m for m in micrographs if m.fingerprint]
    for m in known:
        try:
            if same_content(path_of(m), "", m.fingerprint):
                return
        except FormatError:
            continue
    if known:
        raise ProjectError(f"{path_of(known[0])} is not the image this project was made with (its content differs)")
