"""Two projects of one data set become one: states, decisions, picks, regions, authors and history.

Nothing of ours is overwritten in silence: where both sides have decided, and differently, ours stays and the conflict
is listed. Picks are the same on both sides where the projects have a history in common (one was copied from the other),
where both imported the same file, and where they lie on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...errors import Refused
from ...model.context import JobContext
from ...model.curation import Change
from ...model.micrograph import Micrograph
from ...store import classes
from ...store.changes import adopt
from ...store.store import Committed
from ..core import edits, watch
from ..core.opening import find_project, open_project
from ..core.session import Session
from .merge_change import Conflict, MergeReport, Merging

__all__ = ["Conflict", "MergeReport", "begin", "compare", "merge"]

_QUIET = JobContext()


def merge(session: Session, other: Session, *, dry_run: bool = False, context: JobContext = _QUIET) -> MergeReport:
    """Take what another project of the same data has into this one, as one step that can be undone.

    Micrographs that only the other has are added first (that is no step). Its history follows ours, with who and when.
    All of it is one transaction: where it fails or is cancelled nothing is changed.

    Parameters
    ----------
    session, other : Session
        The other is only read.
    dry_run : bool
        Change nothing, and say what would be done.
    context : JobContext, optional
        Told how far it is; cancels it.

    Raises
    ------
    Refused
        They have no micrograph in common, or are one project.
    Cancelled
        Nothing was changed.
    """
    if dry_run:
        return _compared(session, other, context)
    report, _committed = session.retried(lambda: _written(session, other, context))
    session.read_again(_line_about(other.store.folder))
    return report


def begin(session: Session, other: Path, then: Callable[[MergeReport], object]) -> None:
    """Merge another project as :func:`merge` does, in the background, as a step that other steps wait for.

    Parameters
    ----------
    session : Session
        One with a backlog, in which no step is being written (:meth:`Session.when_free`).
    other : Path
        The other project's folder.
    then : callable
        Gets the report when all is written.
    """
    if session.backlog is None:
        raise Refused("there is nothing that a merge could run behind")
    reports: list[MergeReport] = []

    def work(context: JobContext) -> Committed | None:
        with _opened(other) as theirs:
            report, committed = _written(session, theirs, context)
        reports.append(report)
        return committed

    def done(_committed: Committed | None, _tallies: object) -> None:
        session.read_again(_line_about(other))
        then(reports[-1])

    session.backlog.write(work, f"merging {other.name}", done)


def compare(session: Session, other: Path, *, context: JobContext = _QUIET) -> MergeReport:
    """What a merge of the project in a folder would do; errors as of :func:`merge`."""
    with _opened(other) as theirs:
        return _compared(session, theirs, context)


@contextmanager
def _opened(folder: Path) -> Iterator[Session]:
    theirs = open_project(find_project(folder), read_only=True)
    try:
        yield theirs
    finally:
        theirs.close()


def _line_about(folder: Path) -> str:
    return f"merged {folder.name} into this project · {{undo}} undoes"


def _compared(session: Session, other: Session, context: JobContext) -> MergeReport:
    report, matches, fresh = _begun(session, other)
    Merging(session, other, matches, report).change(context)
    report.picks_added += sum(m.n_particles for m in fresh)
    _note_runs(other, report)
    return report


def _written(session: Session, other: Session, context: JobContext) -> tuple[MergeReport, Committed | None]:
    """Write all of it in one transaction; the memory does not follow yet. Raises StaleError, and as :func:`merge`."""
    store, head = session.store, session.store.head
    try:
        with store.alone():
            report, matches, fresh = _begun(session, other)
            if fresh:
                matches |= _added(session, other, fresh)
            merging = Merging(session, other, matches, report)
            change = merging.change(context)
            committed = None
            if change is None:
                report.notes.append("the other project has nothing that this one does not have")
            else:
                committed = store.commit_built(lambda _store, _connection: change, session.curator, context.check)
            if lines := merging.history():
                title = f"history of {other.store.folder.name}: {edits.count_of(len(lines), 'step')}"
                store.note(Change("merged", title, ()), session.curator, partial(adopt, entries=lines))
            context.check()
        store.head = store.newest()
    except BaseException:
        store.head = head  # all of it was taken back
        raise
    _note_runs(other, report)
    return report, committed


def _begun(session: Session, other: Session) -> tuple[MergeReport, dict[int, int], list[Micrograph]]:
    """An empty report, our id of each of their micrographs that is ours, and those that are new to us."""
    if session.store.folder.resolve() == other.store.folder.resolve():
        raise Refused("a project cannot be merged with itself")
    report = MergeReport()
    matches = _match(session, other, report)
    if not matches:
        raise Refused(f"{other.store.folder} is of other micrographs: none is in this project")
    fresh = [m for m in other.micrographs if m.id not in matches and not _is_conflict(report, m)]
    report.micrographs_matched, report.micrographs_added = len(matches), len(fresh)
    return report, matches, fresh


def _note_runs(other: Session, report: MergeReport) -> None:
    if other_runs := len(classes.runs(other.store)):
        report.notes.append(f"{edits.count_of(other_runs, 'class run')} of the other project stay there")


def _is_conflict(report: MergeReport, m: Micrograph) -> bool:
    return any(conflict.what == "image" and conflict.micrograph == m.name for conflict in report.conflicts)


# ---------------------------------------------------------------------- micrographs


def _match(session: Session, other: Session, report: MergeReport) -> dict[int, int]:
    """Our id of each of their micrographs that is ours: the same image, or, where that is not known, the same name."""
    by_content = {m.fingerprint: m for m in session.micrographs if m.fingerprint}
    by_name: dict[str, list[Micrograph]] = {}
    for m in session.micrographs:
        by_name.setdefault(m.name, []).append(m)
    matches: dict[int, int] = {}
    for theirs in other.micrographs:
        ours = by_content.get(theirs.fingerprint) if theirs.fingerprint else None
        named = by_name.get(theirs.name, [])
        if ours is None and len(named) == 1 and _may_be_same(session, named[0], theirs):
            ours = named[0]
        if ours is not None and not (ours.changed or theirs.changed):
            matches[theirs.id] = ours.id
        elif ours is not None or len(named) == 1:
            mine = ours or named[0]
            report.conflicts.append(Conflict("image", theirs.name, 0, _image_of(mine), _image_of(theirs)))
    return matches


def _may_be_same(session: Session, ours: Micrograph, theirs: Micrograph) -> bool:
    """Whether nothing says that two micrographs of one name are different images."""
    if not (ours.fingerprint and theirs.fingerprint):
        return True
    if ours.fingerprint.count("-") == theirs.fingerprint.count("-"):
        return False
    path = session.path_of(ours)  # one is of an earlier program: the file can tell
    return path.exists() and watch.same_content(path, "", theirs.fingerprint)


def _image_of(m: Micrograph) -> str:
    return m.problem if m.changed else f"{m.width} x {m.height} px, {m.fingerprint[:24] or 'never read'}"


def _added(session: Session, other: Session, fresh: Sequence[Micrograph]) -> dict[int, int]:
    """Register micrographs that only the other has, with their states; our id of each."""
    paths = {m.id: watch.relative(other.path_of(m), session.data_root) for m in fresh}
    session.store.add_micrographs([replace(m, path=paths[m.id]) for m in fresh], session.curator)
    ours = {m.path: m.id for m in session.store.micrographs()}
    return {number: ours[path] for number, path in paths.items()}
