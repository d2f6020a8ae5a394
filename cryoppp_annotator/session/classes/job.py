"""A 2D classification of the project's picks as a job: cut out, classified, measured, saved beside the annotations."""

from __future__ import annotations

import contextlib
import datetime
import errno
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...classify.iteration import ClassModel
from ...classify.selection import doubt
from ...errors import AnnotatorError, ProjectError, Refused, disk_reason
from ...formats.image.stacks import write_stack
from ...model.classes import ClassRun, ClassSummary, summaries_as_json, verdict_of, with_members
from ...model.context import JobContext
from ...model.curation import Decision
from ...store import classes as table
from ..core.session import Session
from . import run_state
from .box_cache import Picks, trim_cache
from .box_cache import notes_of as boxes_notes
from .run_options import RunOptions
from .stages import Outcome, Preview, work_out
from .summary_files import as_summary

__all__ = ["AVERAGES", "Preview", "RunOptions", "RunResult", "classify_project", "save"]

_QUIET = JobContext()
#: File of the averages in a run's folder.
AVERAGES = "classes.mrcs"


@dataclass(frozen=True, eq=False)
class RunResult:
    """What a run brought; it holds everything, so that it can be saved again where saving failed.

    Attributes
    ----------
    run : ClassRun
        With id 0.
    averages : (n, side, side) float32, yx
    members : mapping of column to (n,) array
        As :func:`~cryoppp_annotator.store.classes.add_members` takes them.
    model : ClassModel or None
        For a later run to start from.
    notes : tuple of str
        What to tell the user: picks left out, micrographs skipped, fewer classes than asked.
    saved : int or None
        Run id in the project's database; None = not saved.
    problem : str
        Why it could not be saved; empty where it could.
    """

    run: ClassRun
    averages: NDArray[np.float32]
    members: Mapping[str, NDArray[Any]]
    model: ClassModel | None = None
    notes: tuple[str, ...] = ()
    saved: int | None = None
    problem: str = ""

    @property
    def folder(self) -> str:
        """Where a saved run's averages are, relative to the project."""
        return "" if self.saved is None else f"classes/run-{self.saved:04d}"

    def summary_json(self) -> list[dict[str, Any]]:
        """The summaries as the database keeps them."""
        return summaries_as_json(self.run.summaries)


def classify_project(
    session: Session,
    options: RunOptions,
    *,
    context: JobContext = _QUIET,
    on_iteration: Callable[[Preview], None] | None = None,
    scheduler: str | None = None,
) -> RunResult:
    """Classify picks of the project: the body of a job. Nothing a person sees changes until ``enter_run``.

    Parameters
    ----------
    on_iteration : callable, optional
        Gets a :class:`Preview` after every iteration, on the job's thread.
    scheduler : str, optional
        Of a Dask cluster that does the comparing.

    Returns
    -------
    RunResult
        Saved, unless its ``problem`` says why not.

    Raises
    ------
    Refused
        There are no picks, or too few that can be used.
    EngineError, Cancelled
    """
    started = time.monotonic()
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    head = session.store.newest()
    picks = Picks(**session.store.positions(options.which))
    if not len(picks):
        raise Refused("there are no picks to classify: none is accepted or undecided")
    outcome = work_out(
        session, options, picks, context=context.part(0.0, 0.95), on_iteration=on_iteration, scheduler=scheduler
    )
    boxes = outcome.boxes
    with_ctf = int(np.isfinite(boxes.defocus_A).sum()) if options.use_ctf else 0
    notes = [
        *boxes_notes(boxes, len(picks)),
        *_ctf_notes(with_ctf, len(boxes)),
        *_doubts(session, picks),
        *outcome.notes,
    ]
    summaries, members = _summarised(outcome, picks)
    verdict = verdict_of(summaries, doubt(outcome.classes))
    classified = int((members["number"] > 0).sum())
    geometry = boxes.geometry
    record = {
        "kind": "classify",
        "engine": "cryoppp-annotator",
        "version": __version__,
        "parameters": asdict(options),
        "inputs": {
            "picks": len(picks),
            "diameter_A": geometry.diameter_A,
            "side_px": geometry.side,
            "box_A": round(geometry.side * geometry.pixel_size_A, 2),
            "box_pixel_size_A": geometry.pixel_size_A,
            "columns": outcome.columns,
            "with_ctf": with_ctf,
            "notes": notes,
        },
        "counts": {"picks": len(picks), "classified": classified, "verdict": verdict},
        "seed": context.seed,
        "curator": session.curator,
        "started": begun,
        "seconds": round(time.monotonic() - started, 2),
    }
    name = options.name or f"{classified:,} picks, {len(summaries)} classes"
    run = ClassRun(0, name, "here", geometry.pixel_size_A, "", head, summaries, verdict, record)
    result = RunResult(run, outcome.averages(), members, outcome.model, tuple(notes))
    trim_cache(session)
    return save(session, result, context=context.part(0.95, 1.0), quiet=True)


def _ctf_notes(known: int, n: int) -> list[str]:
    if known == n:
        return []
    some = f"CTF of {known:,} of {n:,} picks: of the others the defocus is not known"
    return [some if known else "no CTF: the defocus is not known or not used"]


def _doubts(session: Session, picks: Picks) -> list[str]:
    """Why the scale of it all is doubtful."""
    used = set(np.unique(picks.micrograph).tolist())
    doubts = sorted({session.settings.pixel_size_doubt(m) for m in list(session.micrographs) if m.id in used} - {""})
    notes = [f"the pixel size is doubtful: {doubts[0]}"] if doubts else []
    if not session.settings.diameter_is_set and not np.isfinite(picks.diameter_A).any():
        notes.append(f"the particle's diameter is not set: the boxes are cut for a guess of {session.diameter_A:g} Å")
    return notes


def _summarised(outcome: Outcome, picks: Picks) -> tuple[tuple[ClassSummary, ...], dict[str, NDArray[Any]]]:
    """Classes in the order of their numbers, and a member row for every pick."""
    number = outcome.numbers()
    columns = {"posterior": outcome.posterior, "angle_deg": outcome.angle_deg, **outcome.shifts()}
    n = len(picks)
    of_pick = np.zeros(n, np.int32)
    of_pick[outcome.boxes.rows] = number
    members: dict[str, NDArray[Any]] = {"particle": picks.id, "number": of_pick, "x": picks.x, "y": picks.y}
    for name, values in columns.items():
        column = np.full(n, np.nan)
        column[outcome.boxes.rows] = values
        column[of_pick == 0] = np.nan
        if name != "posterior":
            column[of_pick > outcome.n_averages] = np.nan  # what is no particle lies nowhere in particular
        members[name] = column
    n_members = np.bincount(of_pick, minlength=len(outcome.classes) + 1)
    measured = []
    for place, item in enumerate(outcome.classes, 1):
        summary = replace(as_summary(item), number=place)
        if not n_members[place]:
            summary = replace(summary, quality=0.0, suggestion=Decision.REJECTED)
        measured.append(summary)
    return with_members(measured, of_pick, members["posterior"], picks.micrograph), members


def save(session: Session, result: RunResult, *, context: JobContext = _QUIET, quiet: bool = False) -> RunResult:
    """Save a run beside the annotations, in pieces, so that the window does not wait; ``enter_run`` then lists it.

    Parameters
    ----------
    quiet : bool
        Where it cannot be saved, say so in the result instead of raising.

    Raises
    ------
    ProjectError
        Nothing was saved; ``result`` still holds everything.
    Cancelled
    """
    store, number = session.store, None
    context.progress(0, 1, "saving")
    try:
        _sweep(session)
        number = table.begin(store, result.run.record, head=result.run.head, pixel_size_A=result.run.pixel_size_A)
        saved = replace(result, saved=number, problem="")
        folder = store.folder / saved.folder
        _write(folder, saved)
        table.add_members(store, number, result.members, context.check)
    except (OSError, AnnotatorError) as error:
        clear_away(session, number)
        context.check()
        why = _why(error, store.folder)
        if not quiet:
            raise ProjectError(why) from error
        return replace(result, problem=why)
    except BaseException:
        clear_away(session, number)
        raise
    return saved


def _sweep(session: Session) -> None:
    """Delete forgotten runs, and what a process that died while saving has left: no saving takes a day."""
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for number in table.unpublished(session.store, yesterday.isoformat(timespec="seconds")):
        clear_away(session, number)


def _write(folder: Path, result: RunResult) -> None:
    if folder.is_symlink():
        raise FileExistsError(errno.EEXIST, "is a link to elsewhere; delete it", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / AVERAGES, result.averages, result.run.pixel_size_A)
    if result.model is not None:
        run_state.write(folder, result.model)


def _why(error: Exception, folder: Path) -> str:
    detail = disk_reason(error) if isinstance(error, OSError) else str(error)
    return (
        f"the classes could not be saved in {folder} ({detail}). They are kept in memory and your picks are safe: "
        "free some space, then save them again"
    )


def clear_away(session: Session, number: int | None) -> None:
    """Take back what a failed saving left; what cannot be taken back is not published and does no harm."""
    if number is None:
        return
    with contextlib.suppress(OSError):  # first: a full disk has room for the rest then
        shutil.rmtree(session.store.folder / "classes" / f"run-{number:04d}")
    with contextlib.suppress(OSError):  # where it was the first
        (session.store.folder / "classes").rmdir()
    with contextlib.suppress(AnnotatorError, OSError):
        table.drop(session.store, number)
