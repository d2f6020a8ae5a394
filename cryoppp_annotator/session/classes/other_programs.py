"""Classes made in RELION or cryoSPARC, met with the project's picks: by micrograph, and there by position."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...classify.engine import MASK
from ...classify.metrics import measure_images
from ...errors import Refused
from ...formats.check.frame import describe
from ...formats.class_files import ClassFiles, ClassRows, read_class_files
from ...model.classes import ClassRun, ClassSummary, verdict_of, with_members
from ...model.context import JobContext
from ...model.coordinates import Orientation, is_tiff
from ...model.curation import Decision
from ...model.micrograph import Micrograph
from ...model.particles import Particles
from ...model.pickfile import FilePicks
from ...picking.matching import match
from ..core.session import Session
from ..files import importing
from .job import RunResult, save
from .summary_files import as_summary

_QUIET = JobContext()
#: Largest distance of a particle from the pick it is taken for, as a share of the diameter.
REACH = 0.25
#: Below this share of matches the positions are taken for those of other picks.
_FEW = 0.02
_HALF = 0.5
#: Averages are measured within this radius, of the particle's.
_AROUND = 1.15
#: Smallest side of averages that are measured, px.
_SMALLEST_PX = 16


class FrameDoubt(Refused):
    """Only a person can say how the axes lie: the image, or the picks, say another way than the program's format.

    Attributes
    ----------
    plan : ImportPlan
        The positions, with what the images say of them.
    on_picks : mapping of Orientation to int
        Particles that lie on a pick, were the axes so.
    """

    def __init__(self, message: str, plan: importing.ImportPlan, on_picks: Mapping[Orientation, int]) -> None:
        super().__init__(message)
        self.plan, self.on_picks = plan, on_picks


@dataclass(frozen=True, eq=False)
class _Met:
    """Picks of one micrograph that were found in the files."""

    columns: dict[str, NDArray[Any]]
    n_without: int


def import_run(
    session: Session,
    files: Sequence[Path],
    *,
    orientation: Orientation | None = None,
    name: str = "",
    permissive: bool = False,
    context: JobContext = _QUIET,
) -> RunResult:
    """Read the classes of another program for the picks that are here: the body of a job, before ``enter_run``.

    A particle is taken for the nearest pick within a quarter of the diameter, one for one, the nearest pairs first.
    No pick is made, moved or decided about.

    Parameters
    ----------
    files : sequence of Path
        As :func:`~cryoppp_annotator.formats.class_files.read_class_files` takes them.
    orientation : Orientation, optional
        What a person says of the axes; None = as the program's format declares, tested on the images.
    permissive : bool
        Rows that cannot be read are left out and counted.

    Raises
    ------
    FormatError
        The files cannot be read, or name none of the project's micrographs.
    Refused
        Hardly a particle lies on a pick.
    FrameDoubt
        The frame contradicts the images, or the picks.
    Cancelled
    """
    started = datetime.datetime.now(datetime.UTC)
    context.progress(0, 1, f"reading {files[0].name}")
    class_files = read_class_files(files, permissive=permissive)
    head = session.store.newest()
    context.progress(0.2, 1, "checking the frame against the image")
    quiet = context.part()
    plan = importing.check(session, class_files.file, orientation=orientation, context=quiet)
    if plan.contradiction:
        raise FrameDoubt(plan.contradiction, plan, _on_picks(session, plan))
    row_of = {id(picks): row for picks, row in zip(class_files.file.picks, class_files.rows, strict=True)}
    parts: list[_Met] = []
    for i, (micrograph, picks) in enumerate(plan.placeable):
        context.progress(0.3 + 0.5 * i / len(plan.placeable), 1, f"matching {micrograph.name}")
        parts.append(_meet(session, micrograph, picks, row_of[id(picks)], plan))
    names = ("particle", "micrograph", "number", "posterior", "shift_x", "shift_y", "angle_deg", "x", "y")
    members = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
    n, n_file = len(members["particle"]), class_files.file.n_picks
    if n < _HALF * n_file and orientation is None:
        near = _on_picks(session, plan)
        best = max(near, key=lambda way: near[way])
        if best is not plan.frame.orientation and near[best] > max(2 * n, _HALF * n_file):
            reading = describe(replace(plan.frame, orientation=best))
            raise FrameDoubt(
                f"{files[0].name}: as {describe(plan.frame)}, {n:,} of its {n_file:,} particles lie on a pick; "
                f"{reading}, {near[best]:,} do. Say which is right (--frame)",
                plan,
                near,
            )
    if n < max(1.0, _FEW * n_file):
        raise Refused(
            f"{files[0].name}: {n:,} of its {n_file:,} particles lie on a pick of this project; import its coordinates "
            "first, or the files belong to other picks"
        )
    notes = [plan.frame_message()]
    if n < n_file:
        notes.append(f"{n_file - n:,} of {n_file:,} particles lie on no pick here, or on one that is nearer to another")
    if without := sum(part.n_without for part in parts):
        notes.append(f"{without:,} picks on these micrographs are in no class")
    if plan.unmatched:
        notes.append(f"{len(plan.unmatched):,} names match no micrograph ({', '.join(plan.unmatched[:2])} ...)")
    if plan.ambiguous:
        notes.append(f"{len(plan.ambiguous):,} names are ambiguous ({', '.join(list(plan.ambiguous)[:2])} ...)")
    if class_files.file.issues:
        notes.append(f"{len(class_files.file.issues):,} rows could not be read: {class_files.file.issues[0].message}")
    result = _result(session, class_files, members, notes, name, head, started)
    return save(session, result, context=context, quiet=True)


def _meet(
    session: Session, micrograph: Micrograph, picks: FilePicks, rows: ClassRows, plan: importing.ImportPlan
) -> _Met:
    here = session.store.particles(micrograph.id)
    frame, pixel = plan.frame, session.pixel_size_A(micrograph)
    x, y = picks.positions(frame, micrograph.height, micrograph.path)
    origin = rows.origin_A / (pixel * frame.scale)
    centred = replace(picks, x=picks.x - origin[:, 0], y=picks.y - origin[:, 1])
    to_x, to_y = centred.positions(frame, micrograph.height, micrograph.path)
    in_class = np.flatnonzero(rows.number > 0)
    matched = match(
        x[in_class], y[in_class], np.zeros(len(in_class)), here.x, here.y, _reach(session, micrograph, here)
    )
    file_rows, pick_rows = in_class[matched.hit], matched.truth_of[matched.hit]
    mirrored = frame.flips_tiff and is_tiff(micrograph.path)  # RELION turned the mirror images of ours
    return _Met(
        {
            "particle": here.id[pick_rows],
            "micrograph": here.micrograph[pick_rows],
            "number": rows.number[file_rows],
            "posterior": rows.posterior[file_rows],
            "shift_x": to_x[file_rows] - here.x[pick_rows],
            "shift_y": to_y[file_rows] - here.y[pick_rows],
            "angle_deg": (-1.0 if mirrored else 1.0) * rows.angle_deg[file_rows],
            "x": here.x[pick_rows],
            "y": here.y[pick_rows],
        },
        int(len(here) - len(pick_rows)),
    )


def _on_picks(session: Session, plan: importing.ImportPlan) -> dict[Orientation, int]:
    """How many particles lie on a pick, for each way the axes may lie."""
    n_on_picks = dict.fromkeys(Orientation, 0)
    for orientation in Orientation:
        turned = plan.with_orientation(orientation)
        frame = turned.frame
        for micrograph, picks in turned.placeable:
            here = session.store.particles(micrograph.id)
            x, y = picks.positions(frame, micrograph.height, micrograph.path)
            n_on_picks[orientation] += int((_nearest(x, y, here.x, here.y) <= _reach(session, micrograph, here)).sum())
    return n_on_picks


def _reach(session: Session, micrograph: Micrograph, here: Particles) -> float:
    """Largest distance of a particle from its pick, px."""
    if not len(here):
        return 0.0
    return REACH * float(np.median(session.diameters_px(micrograph, here)))


def _nearest(
    x: NDArray[np.float64], y: NDArray[np.float64], to_x: NDArray[np.float64], to_y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(n,) distance to the nearest of some points; infinite where there is none."""
    if not len(x) or not len(to_x):
        return np.full(len(x), np.inf)
    distance, _ = cKDTree(np.column_stack([to_x, to_y])).query(np.column_stack([x, y]))
    return np.asarray(distance, np.float64)


def _result(
    session: Session,
    class_files: ClassFiles,
    members: dict[str, NDArray[Any]],
    notes: list[str],
    name: str,
    head: int,
    started: datetime.datetime,
) -> RunResult:
    summaries = _summaries(class_files, members, session.diameter_A)
    verdict = verdict_of(summaries)
    n = len(members["particle"])
    seconds = (datetime.datetime.now(datetime.UTC) - started).total_seconds()
    record = {
        "kind": "classify",
        "engine": class_files.program,
        "version": "",
        "parameters": {},
        "inputs": {
            "files": [str(path) for path in class_files.sources],
            "picks": class_files.file.n_picks,
            "diameter_A": session.diameter_A,
            "notes": notes,
        },
        "counts": {"picks": n, "classified": n, "verdict": verdict},
        "seed": None,
        "curator": session.curator,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
    }
    title = (
        name
        or f"{class_files.file.path.name} ({ {'relion': 'RELION', 'cryosparc': 'cryoSPARC'}[class_files.program] })"
    )
    run = ClassRun(0, title, class_files.program, class_files.pixel_size_A, "", head, summaries, verdict, record)
    return RunResult(run, class_files.averages, members, None, tuple(notes))


def _summaries(
    class_files: ClassFiles, members: dict[str, NDArray[Any]], diameter_A: float
) -> tuple[ClassSummary, ...]:
    images, number = class_files.averages, members["number"]
    counts = np.bincount(number, minlength=len(images) + 1)[1:]
    side, radius = images.shape[1], None
    if side >= _SMALLEST_PX:
        radius = min(MASK, _AROUND * diameter_A / 2.0 / (side * class_files.pixel_size_A))
    measured = [as_summary(item) for item in measure_images(images, counts, class_files.resolution_A, radius)]
    # an average that none of the project's picks belongs to says nothing of them
    measured = [item if item.count else replace(item, suggestion=Decision.UNDECIDED) for item in measured]
    return with_members(measured, number, members["posterior"], members["micrograph"])
