"""A stored class run as files: averages, particles with classes, a table, a picture. Nothing is computed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Refused
from ...formats.atomic import whole_set, write_text
from ...formats.table.star import format_star, number_text
from ...imaging.ctf import Optics
from ...model.classes import ClassRun, ClassSummary
from ...model.context import JobContext
from ...model.coordinates import is_tiff, relion_y
from ...model.curation import Decision
from ...model.particles import Particles
from ...store import classes as table
from ..core.session import Session
from ..pictures.defocus import defocus_of
from .decide import load_averages
from .job import RunResult
from .summary_files import write_report

_QUIET = JobContext()


def export_run(
    session: Session,
    run: ClassRun,
    out: Path,
    *,
    numbers: Sequence[int] | None = None,
    context: JobContext = _QUIET,
) -> tuple[Path, ...]:
    """Write ``classes.mrcs``, ``particles.star``, ``summary.csv`` and ``gallery.png`` into a folder; it is made.

    ``particles.star`` (RELION 3.1 and later) holds the members that are not rejected, where they are now, with
    ``rlnClassNumber``, ``rlnMaxValueProbDistribution``, ``rlnAnglePsi`` and, for picks that were not moved since,
    ``rlnOriginXAngst``.

    Parameters
    ----------
    numbers : sequence of int, optional
        Only these classes and their picks; all by default. They are numbered from 1 in the files, as their averages
        are, and ``summary.csv`` notes which of the run each was.

    Raises
    ------
    FormatError
        The averages are gone, or the folder cannot be written.
    Refused
        There is no such class, or every member was rejected or deleted.
    Cancelled
    """
    averages = load_averages(session, run)
    chosen = _chosen(run, numbers)
    known = [item.number for item in chosen]

    def members_on(micrograph: int, _here: Particles) -> dict[str, NDArray[Any]]:
        return table.members(session.store, run.id, micrograph=micrograph, numbers=known)

    return _write(session, run, averages, chosen, members_on, out, context)


def export_result(session: Session, result: RunResult, out: Path, *, context: JobContext = _QUIET) -> tuple[Path, ...]:
    """As :func:`export_run`, of a run that is not in the project: where it could not be saved."""

    def members_on(_micrograph: int, here: Particles) -> dict[str, NDArray[Any]]:
        mine = np.isin(result.members["particle"], here.id) & (result.members["number"] > 0)
        return {name: column[mine] for name, column in result.members.items()}

    return _write(session, result.run, result.averages, list(result.run.summaries), members_on, out, context)


#: Gives the members of a run on a micrograph (by id), whose particles it is handed.
_MembersOn = Callable[[int, Particles], dict[str, NDArray[Any]]]


def _write(
    session: Session,
    run: ClassRun,
    averages: NDArray[np.float32],
    chosen: Sequence[ClassSummary],
    members_on: _MembersOn,
    out: Path,
    context: JobContext,
) -> tuple[Path, ...]:
    columns, groups = _particles(session, members_on, {item.number: k for k, item in enumerate(chosen, 1)}, context)
    if not columns["rlnClassNumber"]:
        raise Refused(f"{run.name}: every member is rejected or deleted; there are no particles to write")
    optics = _optics(groups)
    with whole_set(out):
        files = write_report(out, *_renumbered(averages, chosen, run), run.pixel_size_A)
        star = write_text(
            out / "particles.star", format_star([("optics", optics), ("particles", columns)], version="30001")
        )
    return (files[0], star, *files[1:])


def _chosen(run: ClassRun, numbers: Sequence[int] | None) -> list[ClassSummary]:
    """Summaries of some classes, in the run's order."""
    if numbers is None:
        return list(run.summaries)
    missing = sorted(set(numbers) - {item.number for item in run.summaries})
    if missing or not numbers:
        raise Refused(f"{run.name} has no class {', '.join(map(str, missing)) or 'chosen'}")
    return [item for item in run.summaries if item.number in set(numbers)]


def _renumbered(
    averages: NDArray[np.float32], chosen: Sequence[ClassSummary], run: ClassRun
) -> tuple[NDArray[np.float32], list[ClassSummary]]:
    """The averages of some classes, and their summaries with the numbers they have in the files."""
    if len(chosen) == len(run.summaries):
        return averages, list(chosen)
    rows = [item.number - 1 for item in chosen]
    named = [
        replace(item, number=k, note="; ".join(filter(None, (f"class {item.number} of the run", item.note))))
        for k, item in enumerate(chosen, 1)
    ]
    return averages[rows], named


def _particles(
    session: Session, members_on: _MembersOn, number_in_file: Mapping[int, int], context: JobContext
) -> tuple[dict[str, list[str]], dict[tuple[float, Optics], int]]:
    labels = (
        "rlnCoordinateX",
        "rlnCoordinateY",
        "rlnMicrographName",
        "rlnOpticsGroup",
        "rlnClassNumber",
        "rlnMaxValueProbDistribution",
        "rlnAnglePsi",
        "rlnOriginXAngst",
        "rlnOriginYAngst",
    )
    out: dict[str, list[str]] = {label: [] for label in labels}
    groups: dict[tuple[float, Optics], int] = {}
    for i, micrograph in enumerate(list(session.micrographs)):
        context.progress(i, len(session.micrographs), micrograph.name)
        here = session.store.particles(micrograph.id)
        members = members_on(micrograph.id, here)
        rows = here.rows_of(members["particle"])
        kept = here.decision[rows] != Decision.REJECTED
        if not kept.any():
            continue
        members, rows = {name: column[kept] for name, column in members.items()}, rows[kept]
        pixel = session.pixel_size_A(micrograph)
        x, y = here.x[rows], here.y[rows]
        group = groups.setdefault((pixel, defocus_of(session, micrograph).optics or Optics()), len(groups) + 1)
        turned = -1.0 if is_tiff(micrograph.path) else 1.0  # RELION cuts mirrored boxes out of TIFF
        values = {
            "rlnCoordinateX": number_text(x),
            "rlnCoordinateY": number_text(relion_y(y, micrograph.path, micrograph.height)),
            "rlnMicrographName": [micrograph.path] * len(rows),
            "rlnOpticsGroup": [str(group)] * len(rows),
            "rlnClassNumber": [str(number_in_file[n]) for n in members["number"].tolist()],
            "rlnMaxValueProbDistribution": _numbers(members["posterior"]),
            "rlnAnglePsi": _numbers(-turned * members["angle_deg"]),
            "rlnOriginXAngst": _numbers(-(members["x"] + members["shift_x"] - x) * pixel),
            "rlnOriginYAngst": _numbers(-turned * (members["y"] + members["shift_y"] - y) * pixel),
        }
        for label, texts in values.items():
            out[label].extend(texts)
    return out, groups


def _numbers(values: NDArray[np.float64]) -> list[str]:
    """Numbers; 0 where one is not known."""
    return [f"{value:.4f}" for value in np.nan_to_num(values).tolist()]


def _optics(groups: dict[tuple[float, Optics], int]) -> dict[str, list[str]]:
    return {
        "rlnOpticsGroupName": [f"opticsGroup{i}" for i in groups.values()],
        "rlnOpticsGroup": [str(i) for i in groups.values()],
        "rlnMicrographOriginalPixelSize": [f"{pixel:g}" for pixel, _ in groups],
        "rlnVoltage": [f"{optics.voltage_kV:g}" for _, optics in groups],
        "rlnSphericalAberration": [f"{optics.cs_mm:g}" for _, optics in groups],
        "rlnAmplitudeContrast": [f"{optics.amplitude_contrast:g}" for _, optics in groups],
    }
