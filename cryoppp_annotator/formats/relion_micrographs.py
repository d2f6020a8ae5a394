"""RELION's list of micrographs (``micrographs_selected.star``): names, optics groups, and the CTF where it is known.

As RELION's *Select* job writes it (3dem/relion ``src/star_handler``, ``src/micrograph_handler``): ``data_optics`` and
``data_micrographs`` of version 30001.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import FormatError, disk_reason
from ..model.pickfile import MicrographPicks, WriteOptions
from .atomic import write_text
from .relion_optics import GROUP, optics_table
from .relion_picks import MICROGRAPH
from .table.star import format_star

#: What RELION's own job calls the file.
FILE_NAME = "micrographs_selected.star"


@dataclass(frozen=True, slots=True)
class ListedCtf:
    """The CTF of a listed micrograph.

    Attributes
    ----------
    u_A, v_A : float
        Defocus, underfocus positive.
    angle_deg : float
    phase_shift_deg : float
    resolution_A : float
        To which it fits; NaN = not known.
    """

    u_A: float
    v_A: float
    angle_deg: float
    phase_shift_deg: float
    resolution_A: float


def write_micrographs(path: Path, picks: Sequence[MicrographPicks], ctfs: Sequence[ListedCtf | None]) -> list[str]:
    """Write a list of micrographs with their optics groups.

    Parameters
    ----------
    path : Path
        The file.
    picks : sequence of MicrographPicks
        One a micrograph; of the picks only the optics group is used.
    ctfs : sequence of ListedCtf or None
        Of each; the columns are written where all are known, as RELION takes no gaps.

    Returns
    -------
    list of str
        What could not be written, for a person.

    Raises
    ------
    FormatError
        Only some micrographs have a pixel size, or the disk refuses.
    """
    optics = optics_table([_one_row(pick) for pick in picks], WriteOptions(), of_micrographs=True)
    columns = {
        MICROGRAPH: [pick.written_name for pick in picks],
        GROUP: [str(numbers[0]) for numbers in optics.numbers],
    }
    known = [ctf for ctf in ctfs if ctf is not None]
    notes = []
    if known and len(known) == len(picks):
        columns |= _ctf_columns(known)
    elif known:
        missing = len(picks) - len(known)
        notes.append(f"the CTF of {missing:,} of {len(picks):,} is not known, so the file says no defocus at all")
    tables = [("optics", optics.columns), ("micrographs", columns)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, format_star(tables, version="30001"))
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", path) from error
    return notes


def _one_row(pick: MicrographPicks) -> MicrographPicks:
    """A single pick, whose optics group is the micrograph's; one that came in with a group, if there is one."""
    if not len(pick) or pick.optics_row is None:
        return pick.take(slice(0, 1))
    with_group = np.flatnonzero(pick.optics_row >= 0)
    return pick.take(with_group[:1] if len(with_group) else slice(0, 1))


def _ctf_columns(ctfs: Sequence[ListedCtf]) -> dict[str, list[str]]:
    columns = {
        "rlnDefocusU": [f"{ctf.u_A:.2f}" for ctf in ctfs],
        "rlnDefocusV": [f"{ctf.v_A:.2f}" for ctf in ctfs],
        "rlnCtfAstigmatism": [f"{ctf.u_A - ctf.v_A:.2f}" for ctf in ctfs],
        "rlnDefocusAngle": [f"{ctf.angle_deg:.3f}" for ctf in ctfs],
    }
    if any(ctf.phase_shift_deg for ctf in ctfs):
        columns["rlnPhaseShift"] = [f"{ctf.phase_shift_deg:.3f}" for ctf in ctfs]
    if all(np.isfinite(ctf.resolution_A) for ctf in ctfs):
        columns["rlnCtfMaxResolution"] = [f"{ctf.resolution_A:.4f}" for ctf in ctfs]
    return columns


def with_microscope(pick: MicrographPicks, voltage_kV: float, cs_mm: float, amplitude: float) -> MicrographPicks:
    """The same, with an optics group of a microscope where it came in with none."""
    if pick.optics:
        return pick
    group = {
        "rlnVoltage": f"{voltage_kV:.6f}",
        "rlnSphericalAberration": f"{cs_mm:.6f}",
        "rlnAmplitudeContrast": f"{amplitude:.6f}",
    }
    return replace(pick, optics=(group,))
