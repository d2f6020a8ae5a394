"""Files that a project names itself: opened where its micrographs lie, elsewhere only after a person has said so.

A project is passed around, and who made it can have written any path into it. What was allowed is kept with the user,
not in the project, and for that project's folder only.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakKeyDictionary

import platformdirs

from ...errors import AnnotatorError, OutsideError
from ...formats.atomic import write_text
from ...formats.kept_arrays import read_kept_json
from .session import Session

log = logging.getLogger(__name__)

#: So many projects are remembered.
_KEPT = 500
#: What was allowed in this process, also where it cannot be kept.
_here: WeakKeyDictionary[Session, set[Path]] = WeakKeyDictionary()


def outside(session: Session, paths: Iterable[Path]) -> tuple[Path, ...]:
    """Folders of those paths that lie neither where the project's micrographs lie nor where a person has allowed.

    Links are followed: what counts is where a file is in the end. The data root does not count: the project says it.
    """
    named = {path: _resolved(path) for path in paths}
    if not named:
        return ()
    allowed = [*_allowed(session), _resolved(session.store.folder)]
    rest = {path: real for path, real in named.items() if not any(map(real.is_relative_to, allowed))}
    if rest:
        near = _folders_of_micrographs(session)
        rest = {path: real for path, real in rest.items() if not any(map(real.is_relative_to, near))}
    return tuple(sorted({real.parent for real in rest.values()}))


def refuse_outside(session: Session, paths: Iterable[Path], what: str) -> None:
    """Raises OutsideError where the project names files in folders that were not allowed.

    Parameters
    ----------
    paths : iterable of Path
    what : str
        What they are to the project ("the attached picture").
    """
    folders = outside(session, paths)
    if folders:
        more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
        raise OutsideError(
            f"the project says that {what} is in {folders[0]}{more}, outside the folders of its micrographs. It was "
            "not opened: allow it if you trust who made the project (the window asks; the command line has "
            "--allow-outside)",
            folders,
        )


def allow(session: Session, folders: Iterable[Path]) -> None:
    """Remember that a person has allowed (or named) these folders for this project, for later starts, too."""
    fresh = {str(_resolved(folder)) for folder in folders}
    _here.setdefault(session, set()).update(map(Path, fresh))
    allowed, refused = _kept().get(_key(session), (set(), set()))
    _keep(session, allowed | fresh, refused - fresh)


def refuse(session: Session, folders: Iterable[Path]) -> None:
    """Remember that a person does not want these folders opened: the question is not asked again."""
    allowed, refused = _kept().get(_key(session), (set(), set()))
    _keep(session, allowed, refused | set(map(str, folders)))


def refused_folders(session: Session) -> set[Path]:
    """Folders of which a person has said that they are not to be opened."""
    return set(map(Path, _kept().get(_key(session), (set(), set()))[1]))


def forget(session: Session) -> None:
    """Ask again about what was allowed in this process only."""
    _here.pop(session, None)


def allow_named(session: Session, paths: Iterable[Path]) -> None:
    """A person has just named these files: the folders that they lie in are allowed from now on."""
    every = list(paths)
    folders = {path.parent for path in every}
    one_each = [folder / "any" for folder in folders] + [path for path in every if path.is_symlink()]
    fresh = outside(session, one_each)
    if fresh:
        allow(session, fresh)


def _allowed(session: Session) -> set[Path]:
    return _here.get(session, set()) | set(map(Path, _kept().get(_key(session), (set(), set()))[0]))


def _folders_of_micrographs(session: Session) -> set[Path]:
    """Where they lie and, where they are links, where what they point to lies."""
    named = {session.path_of(m) for m in session.micrographs}
    lexical = {path.parent for path in named}
    folders = {_resolved(folder) for folder in lexical}
    return folders | {_resolved(path).parent for path in named if path.is_symlink()}


def _resolved(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError, RuntimeError):
        return Path(os.path.abspath("/nowhere"))  # a name that no file can have


def _key(session: Session) -> str:
    return str(_resolved(session.store.folder))


def _file() -> Path:
    own = os.environ.get("CRYOPPP_ANNOTATOR_HOME")
    return (Path(own) if own else Path(platformdirs.user_data_dir("cryoppp-annotator"))) / "allowed-folders.json"


def _kept() -> dict[str, tuple[set[str], set[str]]]:
    """Folders that are allowed, and that are not, by the project's folder."""
    try:
        kept = read_kept_json(_file())
        return {str(key): (set(map(str, one["allowed"])), set(map(str, one["refused"]))) for key, one in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return {}


def _keep(session: Session, allowed: set[str], refused: set[str]) -> None:
    kept = _kept()
    kept.pop(_key(session), None)
    kept[_key(session)] = allowed, refused
    latest = list(kept.items())[-_KEPT:]
    text = json.dumps({key: {"allowed": sorted(yes), "refused": sorted(no)} for key, (yes, no) in latest}, indent=1)
    try:
        write_text(_file(), text)
    except (OSError, AnnotatorError) as error:
        log.info("which folders are allowed is not kept: %s", error)
