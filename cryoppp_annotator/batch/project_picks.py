"""A pick set of a project, in a file or on a server, as a set of picks on the micrographs of a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Refused
from ..formats.registry import match_micrographs
from ..model.context import JobContext
from ..model.micrograph import Micrograph, MicrographState
from ..model.particles import Particles
from ..session.core.opening import open_project
from ..session.core.session import Session
from ..session.review import sets
from ..store.connecting import DATABASE_NAME, is_project

#: States that say: what has no pick here is no particle.
_LOOKED_THROUGH = (MicrographState.COMPLETE, MicrographState.EMPTY)


@dataclass(frozen=True, eq=False)
class ProjectPicks:
    """A pick set of a project.

    Attributes
    ----------
    name : str
        What the set is called.
    picks : mapping of micrograph path (posix) to (Particles, Particles, float)
        What belongs to it, what it refused, canonical px, and the diameter of the particle, px (NaN = not set). Of the
        accepted picks also micrographs that somebody has finished and where there are none.
    notes : tuple of str
        What was left out, and why.
    """

    name: str
    picks: Mapping[str, tuple[Particles, Particles, float]]
    notes: tuple[str, ...]


def project_at(path: Path) -> Path | None:
    """The project that a path is itself: its folder, its database, the folder that stands for a server's; or None.

    Other than for commands that take projects only, a folder that merely has a project in it holds coordinate files.
    """
    path = path.expanduser()
    folder = path.parent if path.name == DATABASE_NAME else path
    return folder if is_project(folder) else None


def read_project_picks(
    folder: Path, pick_set: str | None, by_name: Mapping[str, Path], context: JobContext
) -> ProjectPicks:
    """Read a pick set of a project, where its micrographs are among those given.

    Parameters
    ----------
    folder : Path
        As :func:`project_at` has it.
    pick_set : str or None
        Name or number of the set; None = the accepted picks, whatever set they came with.
    by_name : mapping of posix name to path
        The micrographs.

    Raises
    ------
    ProjectError
        The project cannot be read.
    Refused
        It has no such set, or several; none of its micrographs is among those given, or the set is empty there.
    Cancelled
    """
    session = open_project(folder, read_only=True)
    try:
        return _read(session, pick_set, by_name, context)
    finally:
        session.close()


def _read(session: Session, pick_set: str | None, by_name: Mapping[str, Path], context: JobContext) -> ProjectPicks:
    number = _number_of(session, pick_set)
    where, notes = _on_micrographs(session, by_name)
    picks = {}
    for micrograph, name in where:
        context.check()
        kept, refused = sets.of_set(session, micrograph, number)
        if len(kept) or len(refused) or (number == sets.ACCEPTED and micrograph.state in _LOOKED_THROUGH):
            size = session.settings.diameter_px(micrograph) if session.settings.diameter_is_set else float("nan")
            picks[name] = (kept, refused, size)
    title = sets.named(session, number)
    if not any(len(kept) for kept, _refused, _size in picks.values()):
        raise Refused(_nothing(session, title, notes))
    return ProjectPicks(title, picks, tuple(notes))


def _nothing(session: Session, title: str, notes: Sequence[str]) -> str:
    what = f"the project in {session.store.place} has no picks of {title!r} on these micrographs"
    return "; ".join([what, *notes, f"its pick sets: {_set_names(session)}"])


def _set_names(session: Session) -> str:
    return ", ".join(f"{number}: {one.name}" for number, one in session.pick_sets.items()) or "none"


def _number_of(session: Session, pick_set: str | None) -> int:
    if pick_set is None:
        return sets.ACCEPTED
    numbers = [number for number, one in session.pick_sets.items() if pick_set in (one.name, str(number))]
    if len(numbers) == 1:
        return numbers[0]
    raise Refused(
        f"{len(numbers) or 'no'} pick sets of {session.store.place} are called {pick_set!r}; "
        f"its number names a set, too ({_set_names(session)})"
    )


def _on_micrographs(session: Session, by_name: Mapping[str, Path]) -> tuple[list[tuple[Micrograph, str]], list[str]]:
    """Micrographs of the project with the name of each among those given, by file, else by name; what is left out."""
    by_file = {path.resolve(): name for name, path in by_name.items()}
    paths = {m.id: session.path_of(m) for m in session.micrographs}
    elsewhere = [path.as_posix() for path in paths.values() if path.resolve() not in by_file]
    match = match_micrographs(elsewhere, by_name)
    where: list[tuple[Micrograph, str]] = []
    for micrograph in session.micrographs:
        path = paths[micrograph.id]
        name = by_file.get(path.resolve()) or match.matches.get(path.as_posix(), "")
        if name:
            where.append((micrograph, name))
    n_without = len(paths) - len(where)
    notes = [f"{n_without} of the project's {len(paths)} micrographs are not among those given"] if n_without else []
    changed = [m.name for m, _ in where if m.changed]
    if changed:
        notes.append(f"changed since they were picked: {', '.join(changed[:3])}{' …' if len(changed) > 3 else ''}")
    if not where:
        raise Refused(f"the project in {session.store.place} is of none of the micrographs that are given")
    if len({name for _, name in where}) < len(where):
        raise Refused(f"several micrographs of {session.store.place} are one file of those that are given")
    return where, notes
