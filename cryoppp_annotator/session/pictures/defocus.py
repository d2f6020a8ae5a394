"""What the project knows of a micrograph's defocus: what was said of the micrograph, else of its picks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...imaging.ctf import Optics
from ...model.micrograph import Micrograph
from ...store import classes as table
from ..core.session import Session
from .optics import ctf_of

#: Imported columns that say it, of each pick.
_COLUMNS = (("rlnDefocusU", "rlnDefocusV"), ("Defocus U", "Defocus V"))
_OPTICS = {"rlnVoltage": "voltage_kV", "rlnSphericalAberration": "cs_mm", "rlnAmplitudeContrast": "amplitude_contrast"}


@dataclass(frozen=True, slots=True)
class KnownDefocus:
    """Mean defocus, angstrom, underfocus positive (NaN = not known), and the microscope (None = not known)."""

    mean_A: float
    optics: Optics | None


def defocus_of(session: Session, micrograph: Micrograph) -> KnownDefocus:
    """Mean of defocus u and v of a micrograph, and the microscope; from any thread."""
    if (ctf := ctf_of(micrograph)) is not None:
        return KnownDefocus((ctf.defocus.u_A + ctf.defocus.v_A) / 2.0, ctf.optics)
    some = table.some_extra(session.store, micrograph.id)
    for u_name, v_name in _COLUMNS:
        pairs = [(_number(row.get(u_name)), _number(row.get(v_name))) for row in some if u_name in row]
        known = [(u if math.isnan(v) else (u + v) / 2.0) for u, v in pairs if not math.isnan(u)]
        if known:
            return KnownDefocus(
                float(np.median(known)), _optics({n: _number(some[0].get(t)) for t, n in _OPTICS.items()})
            )
    return KnownDefocus(math.nan, None)


def _optics(values: dict[str, float]) -> Optics | None:
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    return Optics(**known) if known else None


def _number(value: object) -> float:
    try:
        return math.nan if value is None else float(str(value))
    except ValueError:
        return math.nan
