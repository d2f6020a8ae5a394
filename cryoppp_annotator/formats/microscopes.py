"""With which microscope micrographs were taken, as RELION's STAR and cryoSPARC's datasets say it; no defocus is needed.

Field names: RELION's optics groups, and cryosparc-tools' documentation of results (``mscope_params``, ``ctf``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FormatError
from .cryosparc_groups import joined_columns
from .relion_optics import GROUP, MICROSCOPE, OWN_PIXEL, groups_of, plain_number
from .table.star_file import read_star

_NAME = "rlnMicrographName"
_PATHS = ("micrograph_blob/path", "location/micrograph_path")
#: Where cryoSPARC says each value; the first that is there counts.
_FIELDS: Mapping[str, Sequence[str]] = {
    "voltage_kV": ("ctf/accel_kv", "mscope_params/accel_kv"),
    "cs_mm": ("ctf/cs_mm", "mscope_params/cs_mm"),
    "amplitude_contrast": ("ctf/amp_contrast",),
    "pixel_size_A": ("micrograph_blob/psize_A", "location/micrograph_psize_A"),
}
_LABELS = dict(zip(("voltage_kV", "cs_mm", "amplitude_contrast"), MICROSCOPE, strict=True)) | {
    "pixel_size_A": OWN_PIXEL
}
#: Files that may say it.
SUFFIXES = (".star", ".cs", ".csg")


@dataclass(frozen=True, slots=True)
class Microscope:
    """What a list says of a micrograph; None = nothing.

    Attributes
    ----------
    voltage_kV, cs_mm, amplitude_contrast, pixel_size_A : float or None
    source : str
        Name of the file that says it.
    """

    voltage_kV: float | None = None
    cs_mm: float | None = None
    amplitude_contrast: float | None = None
    pixel_size_A: float | None = None
    source: str = ""

    @property
    def says_something(self) -> bool:
        """Whether any value is known."""
        values = (self.voltage_kV, self.cs_mm, self.amplitude_contrast, self.pixel_size_A)
        return any(value is not None for value in values)


def read_microscopes(path: Path) -> dict[str, Microscope]:
    """What a STAR or a dataset of cryoSPARC says of its micrographs, by their names there.

    Raises
    ------
    FormatError
        It cannot be read, lists no micrographs, or says nothing of a microscope.
    """
    by_name = _of_star(path) if path.suffix.lower() == ".star" else _of_cryosparc(path)
    if not any(microscope.says_something for microscope in by_name.values()):
        raise FormatError("says nothing of the microscope (voltage, Cs, amplitude contrast, pixel size)", path)
    return by_name


def _of_star(path: Path) -> dict[str, Microscope]:
    star = read_star(path, permissive=True)
    table = next((table for table in star.tables if _NAME in table.columns), None)
    if table is None:
        raise FormatError(f"lists no micrographs ({_NAME})", path)
    groups = groups_of(star)
    only = next(iter(groups.values())) if len(groups) == 1 else {}
    of_row = [plain_number(text) for text in table.columns.get(GROUP, [""] * len(table))]
    out: dict[str, Microscope] = {}
    for row, name in enumerate(table.columns[_NAME]):
        group = groups.get(of_row[row], only)
        texts = {
            key: table.columns[label][row] if label in table.columns else group.get(label, "")
            for key, label in _LABELS.items()
        }
        out.setdefault(name, _microscope(texts, path))
    return out


def _of_cryosparc(path: Path) -> dict[str, Microscope]:
    columns = joined_columns(path)
    label = next((name for name in _PATHS if name in columns), None)
    if label is None:
        raise FormatError(f"lists no micrographs ({_PATHS[0]})", path)
    fields = {key: next((name for name in names if name in columns), "") for key, names in _FIELDS.items()}
    out: dict[str, Microscope] = {}
    for row, value in enumerate(columns[label].tolist()):
        name = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        values = {key: columns[field][row] for key, field in fields.items() if field}
        out.setdefault(name.lstrip(">"), _microscope(values, path))
    return out


def _microscope(values: Mapping[str, Any], path: Path) -> Microscope:
    # single precision there: 2.7 mm is 2.700000047
    numbers = {key: number for key, value in values.items() if (number := _positive(value)) is not None}
    return Microscope(**numbers, source=path.name)


def _positive(value: object) -> float | None:
    """A number above 0 to six digits; None for anything else, -999 and 0 among them: both mean *not known*."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return float(f"{number:.6g}") if math.isfinite(number) and number > 0 else None
