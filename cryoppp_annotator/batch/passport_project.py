"""The passports of a project's micrographs, measured in its cache folder, and what a person makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.context import JobContext
from ..model.region import Origin, Region
from ..session.core.session import Session
from ..session.files.facts import cache_name
from ..store import facts
from .ctf_project import Exposure, by_options, exposures
from .passport import (
    COLUMNS,
    RECORD,
    PassportReport,
    compare,
    compared,
    passport_all,
    shares,
    write_tables,
)
from .resume import Progress

_QUIET = JobContext()
#: Columns that are numbers, in the order in which a person asks for them.
NUMBERS = tuple(
    name
    for name in dict.fromkeys(("fit_resolution_A", *COLUMNS))
    if COLUMNS[name] and name not in ("defocus_v_A", "padding")
)
#: What a person calls them.
TITLES: Mapping[str, str] = {
    "fit_resolution_A": "rings to (Å)",
    "defocus_u_A": "defocus (Å)",
    "defocus_angle_deg": "angle of astigmatism",
    "astigmatism_A": "astigmatism (Å)",
    "ctf_score": "CTF score",
    "tilt_deg": "tilt (degrees)",
    "ring_anisotropy": "anisotropy of rings (drift)",
    "ring_direction_deg": "direction of drift",
    "ring_strength": "strength of rings",
    "ice_ring": "ice ring at 3.7 Å",
    "diffraction_spots": "diffraction spots",
    "mean_grey": "grey value",
    "relative_thickness": "relative thickness",
    "grey_gradient": "slope of grey values",
    "carbon_share": "share of carbon",
    "contamination_share": "share of contamination",
    "aggregate_share": "share of aggregates",
    "crack_share": "share of cracks",
    "local_contrast": "local contrast",
    "visibility": "visibility",
    "picks": "picks",
    "pick_density": "picks over the median",
    "pick_score": "median score of picks",
    "class_quality": "median class quality",
    "grey_outliers": "share of broken pixels",
    "dead_rows": "dead rows",
    "dead_columns": "dead columns",
}

Rows = Mapping[int, Mapping[str, Any]]


def folder_of(session: Session) -> Path:
    """Where passports are kept; it may be deleted at any time."""
    return Path(session.store.folder) / "cache" / "passport"


@dataclass(frozen=True, slots=True)
class Passports:
    """What was measured.

    Attributes
    ----------
    rows : mapping of micrograph id to its numbers by column
    assumed : tuple of str
        What nobody said of the microscope and was taken as usual.
    """

    rows: Rows
    assumed: tuple[str, ...]


def measure(
    given: Sequence[Exposure],
    folder: Path,
    diameter_A: float,
    *,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> Passports:
    """Measure passports; those that were measured before and are unchanged are kept.

    Parameters
    ----------
    given : sequence of Exposure
    folder : Path
    diameter_A : float
        Of the particle.
    scheduler : str, optional
        Of a Dask cluster.

    Raises
    ------
    Refused
        Optics or diameter make no sense.
    Cancelled
    """
    reports = _measured(given, folder, diameter_A, scheduler, context)
    ids = {exposure.path.as_posix(): exposure.id for exposure in given}
    rows = {ids[row["micrograph"]]: row for report in reports for row in report.rows}
    return Passports(rows, tuple(dict.fromkeys(fact for report in reports for fact in report.assumed_facts)))


def _measured(
    given: Sequence[Exposure], folder: Path, diameter_A: float, scheduler: str | None, context: JobContext
) -> list[PassportReport]:
    """A report for each group of micrographs that were taken alike."""
    return [
        passport_all(
            {exposure.name: exposure.path for exposure in members},
            folder,
            options,
            diameter_A=diameter_A,
            scheduler=scheduler,
            context=context,
        )
        for options, members in by_options(given).items()
    ]


def report_of_project(
    session: Session,
    out: Path,
    *,
    diameter_A: float | None = None,
    scheduler: str | None = None,
    context: JobContext = _QUIET,
) -> PassportReport:
    """Measure a project's micrographs and write the table, with what the project knows of picks and regions.

    Parameters
    ----------
    session : Session
    out : Path
        Folder for the table and the record of what was measured.
    diameter_A : float, optional
        The project's by default.
    scheduler : str, optional
        Of a Dask cluster.

    Raises
    ------
    Refused
        There are no micrographs that can be read, or a diameter that makes no sense.
    FormatError
        ``out`` cannot be written.
    Cancelled
    """
    given = exposures(session)
    reports = _measured(given, out, diameter_A or session.diameter_A, scheduler, context)
    if not reports:
        return passport_all([], out, given[0].options if given else Exposure(0, out, 1.0).options, context=context)
    ids = {exposure.path.as_posix(): exposure.id for exposure in given}
    measured = {ids[row["micrograph"]]: row for report in reports for row in report.rows}
    rows = tuple(joined(measured, known(session)).values())
    return PassportReport(
        rows,
        sum(report.n_done for report in reports),
        sum(report.n_kept for report in reports),
        {path: reason for report in reports for path, reason in report.failed.items()},
        tuple(dict.fromkeys(sentence for report in reports for sentence in report.assumed)),
        tuple(dict.fromkeys(fact for report in reports for fact in report.assumed_facts)),
        save(rows, out),
        sum(report.seconds for report in reports),
    )


def save(rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write rows as ``passport.csv`` and ``passport.star``; returns the former. Raises FormatError."""
    return write_tables(folder, rows)


def known(session: Session) -> dict[int, dict[str, Any]]:
    """What the project knows of every micrograph: its picks, their scores and classes, regions that were outlined.

    Picks are those that are not rejected. Of a micrograph on which regions were found or drawn the shares of carbon,
    contamination and aggregates are those of these regions, less the dismissed ones.
    """
    scores, quality = facts.median_scores(session.store), facts.class_quality(session.store)
    regions: dict[int, list[Region]] = {}
    for region in session.store.regions():
        regions.setdefault(region.micrograph, []).append(region)
    out: dict[int, dict[str, Any]] = {}
    for m in session.micrographs:
        out[m.id] = {
            "picks": m.n_accepted + m.n_undecided,
            "pick_score": scores.get(m.id),
            "class_quality": quality.get(m.id),
        }
        if m.id in regions and m.width and m.height:
            present = [region for region in regions[m.id] if region.origin is not Origin.DISMISSED]
            out[m.id] |= shares(present, (m.height, m.width))
    return out


def kept(session: Session) -> dict[int, dict[str, Any]]:
    """Rows of micrographs that were measured before and are still the same files, without looking at them.

    Raises
    ------
    FormatError
        The record cannot be read.
    """
    finished = Progress(folder_of(session) / RECORD).finished()
    names: dict[int, str] = {}
    results = []
    for m in session.micrographs:
        key, result = finished.get(cache_name(m.id, m.path), (None, None))
        if not m.problem and isinstance(key, dict) and key.get("fingerprint") == m.fingerprint and "kind" in result:
            names[m.id] = session.path_of(m).as_posix()
            results.append(result)
    return dict(zip(names, compared(list(names.values()), results), strict=True))


def joined(measured: Rows, known_columns: Rows) -> dict[int, dict[str, Any]]:
    """Rows with what the project knows, compared with one another again."""
    rows = {number: dict(row) | dict(known_columns.get(number, {})) for number, row in measured.items()}
    compare(list(rows.values()))
    return rows
