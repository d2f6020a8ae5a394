"""cryoSPARC's exposures (``*_exposures.cs``): micrographs with pixel size, microscope and defocus, without picks.

Field names: cryosparc-tools' documentation of results. Angles are in radians there, lengths in angstrom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FormatError
from ..model.coordinates import FloatArray
from .cryosparc_groups import joined_columns
from .ctf_row import CtfRow

_PATH = "micrograph_blob/path"
_MOVIE = "movie_blob/path"
_PIXEL = "micrograph_blob/psize_A"


def exposure_names(path: Path) -> list[str]:
    """Paths of the micrographs of a dataset of exposures, each once, as cryoSPARC writes them.

    Raises
    ------
    FormatError
        It is no such dataset.
    """
    columns = joined_columns(path)
    label = next((name for name in (_PATH, "location/micrograph_path") if name in columns), None)
    if label is None:
        what = "lists movies, not micrographs" if _MOVIE in columns else "lists no micrographs (micrograph_blob/path)"
        raise FormatError(what, path)
    return list(dict.fromkeys(_text(value) for value in columns[label].tolist()))


def exposure_ctfs(path: Path) -> list[CtfRow]:
    """Defocus, microscope and pixel size of each exposure.

    Raises
    ------
    FormatError
        It has no exposures, or no defocus (``ctf/df1_A``).
    """
    columns = joined_columns(path)
    if _PATH not in columns or "ctf/df1_A" not in columns:
        raise FormatError("has no exposures with a defocus (micrograph_blob/path, ctf/df1_A)", path)

    def column(name: str, scale: float = 1.0) -> FloatArray:
        values = columns.get(name)
        n = len(columns[_PATH])
        return np.full(n, np.nan) if values is None else np.round(np.asarray(values, np.float64) * scale, 6)

    degrees = float(np.rad2deg(1.0))
    numbers = {
        "defocus_u_A": column("ctf/df1_A"),
        "defocus_v_A": column("ctf/df2_A"),
        "angle_deg": column("ctf/df_angle_rad", degrees),
        "phase_shift_deg": column("ctf/phase_shift_rad", degrees),
        "voltage_kV": column("ctf/accel_kv"),
        "cs_mm": column("ctf/cs_mm"),
        "amplitude_contrast": column("ctf/amp_contrast"),
        "resolution_A": column("ctf/ctf_fit_to_A"),
        "pixel_size_A": column(_PIXEL),
    }
    rows = []
    for i, value in enumerate(columns[_PATH].tolist()):
        values: dict[str, Any] = {name: float(numbers[name][i]) for name in numbers}
        rows.append(CtfRow(_text(value), line=i + 1, **values))
    return rows


def _text(value: object) -> str:
    name = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return name.lstrip(">")
