"""The passports of a project's micrographs, measured in its cache folder, and what a person makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..model.context import JobContext
from ..session.core.session import Session
from .ctf_project import Exposure, by_options
from .passport import COLUMNS, passport_all

_QUIET = JobContext()
#: Columns that are numbers, in the order in which a person asks for them.
NUMBERS = tuple(
    name for name in ("fit_resolution_A", *COLUMNS) if COLUMNS[name] and name not in ("defocus_v_A", "padding")
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
    "local_contrast": "local contrast",
    "visibility": "visibility",
    "grey_outliers": "share of broken pixels",
    "dead_rows": "dead rows",
    "dead_columns": "dead columns",
}


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

    rows: Mapping[int, Mapping[str, Any]]
    assumed: tuple[str, ...]


def measure(given: Sequence[Exposure], folder: Path, diameter_A: float, *, context: JobContext = _QUIET) -> Passports:
    """Measure passports; those that were measured before and are unchanged are kept.

    Parameters
    ----------
    given : sequence of Exposure
    folder : Path
    diameter_A : float
        Of the particle.

    Raises
    ------
    Refused
        Optics or diameter make no sense.
    Cancelled
    """
    rows: dict[int, Mapping[str, Any]] = {}
    assumed: dict[str, None] = {}
    for options, members in by_options(given).items():
        named = {exposure.name: exposure.path for exposure in members}
        report = passport_all(named, folder, options, diameter_A=diameter_A, context=context)
        ids = {exposure.path.as_posix(): exposure.id for exposure in members}
        rows |= {ids[row["micrograph"]]: row for row in report.rows}
        assumed |= dict.fromkeys(report.assumed_facts)
    return Passports(rows, tuple(assumed))
