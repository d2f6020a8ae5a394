"""A 2D classification of the project's picks as a job: cut out, classified, measured, saved beside the annotations."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement

from .. import __version__
from ..classify.engine import Classification, Settings, classify, prepare
from ..classify.iteration import ClassModel
from ..classify.metrics import measure
from ..classify.selection import Suggestion, suggest
from ..errors import AnnotatorError, ProjectError, Refused
from ..formats.stacks import write_stack
from ..model.classes import ClassRun, ClassSummary, judge, note_for, spread, summaries_as_json
from ..model.context import JobContext
from ..model.curation import Decision
from ..store import classes as table
from . import class_model
from .boxes import Boxes, cut_out
from .session import Session

_QUIET = JobContext()
#: File of the averages in a run's folder.
AVERAGES = "classes.mrcs"
#: Mask of picks in boxes of 1.5 diameters: the particle's own radius and 15 % more, as a share of the box.
MASK_OF_PICKS = 1.15 / 3.0


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Which picks are classified, and how.

    Attributes
    ----------
    n_classes : int
        From six on, two of them model what is no particle.
    decisions : tuple of Decision
        Picks so decided take part.
    pick_sets, micrographs : tuple of int, optional
        Only of these; None = all.
    min_score : float, optional
        Undecided picks below are left out.
    subset : int
        So many are classified first, for the first picture.
    use_ctf : bool
        Where the defocus of the micrographs is known.
    invert : bool
        Particles are dark in the micrographs, as in raw ones.
    start_from : int, optional
        Run whose averages it starts from.
    of_run, of_numbers : int and tuple of int, optional
        Only members of these classes of a run.
    name : str
        Empty = named after picks and classes.
    """

    n_classes: int = 50
    decisions: tuple[Decision, ...] = (Decision.UNDECIDED, Decision.ACCEPTED)
    pick_sets: tuple[int, ...] | None = None
    micrographs: tuple[int, ...] | None = None
    min_score: float | None = None
    subset: int = 2000
    use_ctf: bool = True
    invert: bool = True
    start_from: int | None = None
    of_run: int | None = None
    of_numbers: tuple[int, ...] = ()
    name: str = ""

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> RunOptions:
        """As a run's record keeps them; keys nobody knows are passed over."""
        known = {name: value for name, value in told.items() if name in RunOptions.__dataclass_fields__}
        for name in ("pick_sets", "micrographs", "of_numbers"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        known["decisions"] = tuple(Decision(d) for d in known.get("decisions", (0, 1)))
        return RunOptions(**known)


@dataclass(frozen=True, eq=False)
class Preview:
    """Averages while a run goes on.

    Attributes
    ----------
    averages : (k, side, side) float32, yx, white
    share : (k,) float64
        Of the picks, as of now.
    n_picks : int
        Picks that these averages are made of.
    iteration : int
        From 1.
    """

    averages: NDArray[np.float32]
    share: NDArray[np.float64]
    n_picks: int
    iteration: int


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


def picks_where(options: RunOptions) -> ColumnElement[bool]:
    """The SQL condition of the picks a run is made of."""
    of_run = None if options.of_run is None else (options.of_run, options.of_numbers)
    return table.wanted_picks(
        [int(d) for d in options.decisions], pick_sets=options.pick_sets, micrographs=options.micrographs,
        min_score=options.min_score, of_run=of_run,
    )  # fmt: skip


@dataclass(slots=True)
class _Watch:
    """Hands averages on after every iteration."""

    on_iteration: Callable[[Preview], None] | None
    n_picks: int = 0
    iteration: int = field(default=0)

    def __call__(self, model: ClassModel) -> None:
        self.iteration += 1
        if self.on_iteration is not None:
            k = model.orders.shape[1]
            self.on_iteration(Preview(model.images(), model.share[:k], self.n_picks, self.iteration))


def classify_project(
    session: Session,
    options: RunOptions,
    *,
    context: JobContext = _QUIET,
    on_iteration: Callable[[Preview], None] | None = None,
) -> RunResult:
    """Classify picks of the project: the body of a job. Nothing a person sees changes until ``enter_run``.

    Parameters
    ----------
    on_iteration : callable, optional
        Gets a :class:`Preview` after every iteration, on the job's thread.

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
    with session.store.reading() as connection:
        picks = table.picks_of(connection, picks_where(options))
    if not len(picks["id"]):
        raise Refused("there are no picks to classify: none is accepted or undecided")
    context.progress(0, 1, f"{len(picks['id']):,} picks")
    boxes = cut_out(session, picks, options.invert, context=context)
    notes = list(boxes.notes)
    watch = _Watch(on_iteration, len(boxes.images))
    result = _classified(session, boxes, options, watch, context)
    notes += result.notes
    summaries, members = _summarised(result, boxes, picks)
    verdict = judge(summaries)
    counts = {"picks": len(picks["id"]), "classified": int((members["number"] > 0).sum()), "verdict": verdict}
    record = {
        "kind": "classify", "engine": "cryoppp-annotator", "version": __version__, "parameters": asdict(options),
        "inputs": {"picks": len(picks["id"]), "box_px": boxes.box_px, "diameter_A": boxes.diameter_A, "notes": notes},
        "counts": counts, "seed": context.seed, "curator": session.curator, "started": begun,
        "seconds": round(time.monotonic() - started, 2),
    }  # fmt: skip
    name = options.name or f"{counts['classified']:,} picks, {len(summaries)} classes"
    run = ClassRun(0, name, "here", boxes.pixel_size_A, "", head, summaries, verdict, record)
    averages = _averages(result, boxes, summaries)
    return save(session, RunResult(run, averages, members, result.model, tuple(notes)), context=context, quiet=True)


def _classified(
    session: Session, boxes: Boxes, options: RunOptions, watch: _Watch, context: JobContext
) -> Classification:
    defocus = boxes.defocus_A if options.use_ctf else None
    ready = prepare(
        boxes.images, defocus_A=defocus, pixel_size_A=boxes.pixel_size_A, optics=boxes.optics,
        mask_radius=MASK_OF_PICKS, context=context,
    )  # fmt: skip
    start = None if options.start_from is None else class_model.load(session.store.folder, options.start_from)
    settings = Settings(options.n_classes)
    return classify(ready, settings, start=start, on_averages=watch, context=context)


def _summarised(
    result: Classification, boxes: Boxes, picks: Mapping[str, NDArray[Any]]
) -> tuple[tuple[ClassSummary, ...], dict[str, NDArray[Any]]]:
    """Classes in the order of their numbers, and a member row for every pick."""
    found = measure(result, boxes.pixel_size_A)
    number_of = np.zeros(result.posterior.shape[1] + 1, np.int32)  # the last one is -1: not usable
    for item in found:
        number_of[item.column] = item.id
    n = len(picks["id"])
    number = np.zeros(n, np.int32)
    members: dict[str, NDArray[Any]] = {"particle": picks["id"], "number": number, "x": picks["x"], "y": picks["y"]}
    number[boxes.rows] = number_of[result.label]
    scale = boxes.scale
    values = {
        "posterior": result.posterior.max(axis=1), "shift_x": result.offset_px[:, 1] * scale,
        "shift_y": result.offset_px[:, 0] * scale, "angle_deg": result.angle_deg,
    }  # fmt: skip
    for name, value in values.items():
        column = np.full(n, np.nan)
        column[boxes.rows] = value
        column[number == 0] = np.nan
        members[name] = column
    even = spread(picks["micrograph"], number, len(found))
    summaries = []
    for item in found:
        n_micrographs = len(np.unique(picks["micrograph"][number == item.id]))
        told = ClassSummary(
            item.id, item.count, item.share, item.resolution_A, item.mean_posterior, item.centring_px,
            float(even[item.id - 1]), item.quality,
            Decision.ACCEPTED if suggest(item) is Suggestion.ACCEPT else Decision.REJECTED, item.kind.value,
        )  # fmt: skip
        summaries.append(replace(told, note=note_for(told, n_micrographs)))
    return tuple(summaries), members


def _averages(result: Classification, boxes: Boxes, summaries: tuple[ClassSummary, ...]) -> NDArray[np.float32]:
    """(n, side, side) float32 in the order of the numbers; of the two models, the plain mean of their members."""
    drawn = result.model.images()
    out = np.zeros((len(summaries), *drawn.shape[1:]), np.float32)
    for place, item in enumerate(measure(result, boxes.pixel_size_A)):
        if item.column < len(drawn):
            out[place] = drawn[item.column]
        elif len(mine := np.flatnonzero(result.label == item.column)[:2000]):
            out[place] = np.mean(boxes.images[mine], axis=0, dtype=np.float64)
    return out


def save(session: Session, result: RunResult, *, context: JobContext = _QUIET, quiet: bool = False) -> RunResult:
    """Save a run beside the annotations, in pieces that hold nobody up; ``enter_run`` then makes it the project's.

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
        number = table.begin(store, result.run.record, head=result.run.head, pixel_size_A=result.run.pixel_size_A)
        saved = replace(result, saved=number, problem="")
        folder = store.folder / saved.folder
        _write(folder, saved)
        table.add_members(store, number, result.members, context.check)
    except (OSError, AnnotatorError) as error:
        _clear_away(session, number)
        context.check()
        why = _why(error, store.folder)
        if not quiet:
            raise ProjectError(why) from error
        return replace(result, problem=why)
    except BaseException:
        _clear_away(session, number)
        raise
    return saved


def _write(folder: Path, result: RunResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_stack(folder / AVERAGES, result.averages, result.run.pixel_size_A)
    if result.model is not None:
        class_model.write(folder, result.model)


def _why(error: Exception, folder: Path) -> str:
    detail = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return (
        f"the classes could not be saved in {folder} ({detail}). They are kept in memory and your picks are safe: "
        "free some space, then save them again"
    )


def _clear_away(session: Session, number: int | None) -> None:
    """Take back what a failed saving left; what cannot be taken back is not published and does no harm."""
    if number is None:
        return
    with contextlib.suppress(AnnotatorError, OSError):
        table.drop(session.store, number)
    with contextlib.suppress(OSError):
        shutil.rmtree(session.store.folder / "classes" / f"run-{number:04d}")
