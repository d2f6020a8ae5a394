"""The passports of a project's micrographs, measured in its cache folder, and what a person makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..imaging.ctf import Optics
from ..model.context import JobContext
from ..session.core.session import Session
from .ctf import CtfOptions
from .ctf_project import Exposure
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


def measure(
    given: Sequence[Exposure], folder: Path, optics: Optics, diameter_A: float, *, context: JobContext = _QUIET
) -> dict[int, Mapping[str, Any]]:
    """Passports by micrograph id; those that were measured before and are unchanged are kept.

    Parameters
    ----------
    given : sequence of Exposure
    folder : Path
    optics : Optics
        Of all of them.
    diameter_A : float
        Of the particle.

    Raises
    ------
    Refused
        Optics or diameter make no sense.
    Cancelled
    """
    by_size: dict[float, list[Exposure]] = {}
    for exposure in given:
        by_size.setdefault(exposure.pixel_size_A, []).append(exposure)
    rows: dict[int, Mapping[str, Any]] = {}
    for size, members in by_size.items():
        options = CtfOptions(optics.voltage_kV, optics.cs_mm, optics.amplitude_contrast, size)
        named = {exposure.name: exposure.path for exposure in members}
        report = passport_all(named, folder, options, diameter_A=diameter_A, context=context)
        ids = {exposure.path.as_posix(): exposure.id for exposure in members}
        rows |= {ids[row["micrograph"]]: row for row in report.rows}
    return rows
