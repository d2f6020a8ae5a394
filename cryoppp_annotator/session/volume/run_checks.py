"""Whether what a run's files say makes sense: they may be somebody else's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError, FormatError
from ...formats.image.volumes import read_volume
from ...reconstruct.symmetry import rotations
from .map_run import CURVES, MapRun, PickVerdicts

#: No box of ours has a longer side, nor a map of them.
LARGEST_SIDE = 512
#: Texts of a record are no longer.
_LONGEST = 4096
#: Of each column: what kind its numbers are, and the rest of its shape.
_COLUMNS: Mapping[str, tuple[type, tuple[int, ...]]] = {
    "particle": (np.int64, ()),
    "micrograph": (np.int64, ()),
    "x": (np.float64, ()),
    "y": (np.float64, ()),
    "log_odds": (np.float32, ()),
    "error_deg": (np.float32, ()),
    "matrices": (np.float64, (3, 3)),
    "shift_x": (np.float64, ()),
    "shift_y": (np.float64, ()),
    "half": (np.int8, ()),
}


def run_of(number: int, record: object) -> MapRun:
    """A run of a record that was read from a file.

    Raises
    ------
    ValueError
        It makes no sense.
    """
    if not isinstance(record, dict):
        raise ValueError("it is no table of names and values")  # noqa: TRY004 - of a file, not of a caller
    run = MapRun(number, record)
    try:
        texts = [run.name, run.verdict, *run.notes, run.symmetry, run.options.map_path]
        numbers = [run.pixel_size_A, run.options.lowpass_A, run.options.map_pixel_A or 1.0, run.options.box_px or 1]
        rotations(run.symmetry)
        hash(run.options.boxes)
    except (TypeError, ValueError, AttributeError, OverflowError, AnnotatorError) as error:
        raise ValueError(str(error)) from error
    if not all(isinstance(text, str) and len(text) <= _LONGEST for text in texts):
        raise ValueError("a text of it is none, or too long")
    if not all(isinstance(n, int | float) and math.isfinite(n) and 0 < n < 1e6 for n in numbers):
        raise ValueError("a size of it makes no sense")
    return run


def verdicts_of(columns: Mapping[str, NDArray[Any]]) -> PickVerdicts:
    """The verdicts of a file's columns.

    Raises
    ------
    ValueError
        One is missing, or makes no sense.
    """
    n = -1
    checked: dict[str, Any] = {}
    for name, (kind, rest) in _COLUMNS.items():
        column = columns.get(name)
        if column is None or column.ndim != 1 + len(rest) or column.shape[1:] != rest or column.dtype.kind not in "iuf":
            raise ValueError(f"the column {name} is missing or of another form")
        if n not in (-1, len(column)):
            raise ValueError(f"the column {name} has {len(column):,} rows, others {n:,}")
        n = len(column)
        with np.errstate(all="ignore"):
            checked[name] = column.astype(kind)
        if column.dtype.kind == "f" and np.issubdtype(kind, np.integer) and (checked[name] != column).any():
            raise ValueError(f"the column {name} holds what is no whole number")
    verdicts = PickVerdicts(**checked)
    if (np.diff(verdicts.particle) <= 0).any() or not np.isin(verdicts.half, (-1, 0, 1)).all():
        raise ValueError("picks are not in order, or in no half")
    posed = verdicts.matrices[np.isfinite(verdicts.log_odds)]
    if not (np.isfinite(verdicts.x).all() and np.isfinite(verdicts.y).all() and np.isfinite(posed).all()):
        raise ValueError("a position or pose is not finite")
    return verdicts


def map_of(path: Path) -> NDArray[np.float32]:
    """A map of a run, (box, box, box) zyx, in memory.

    Raises
    ------
    FormatError
        It is damaged, or no map of ours.
    """
    volume, _ = read_volume(path)
    if len(set(volume.shape)) != 1 or volume.shape[0] > LARGEST_SIDE:
        raise FormatError(f"is no map of a run: {' x '.join(map(str, volume.shape))} px", path)
    array = np.array(volume, np.float32)
    if not np.isfinite(array).all():
        raise FormatError("holds values that are not finite", path)
    return array


def curves_of(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """The curves of a file: all of them, of one length; none where one makes no sense."""
    curves = {name: stored[name] for name in CURVES if name in stored}
    forms = {curve.shape for curve in curves.values()}
    if len(forms) > 1 or any(curve.ndim != 1 or curve.dtype.kind not in "iuf" for curve in curves.values()):
        return {}
    return {name: curve.astype(np.float64) for name, curve in curves.items()}
