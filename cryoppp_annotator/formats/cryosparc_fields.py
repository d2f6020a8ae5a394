"""cryoSPARC's datasets: their fields, which files belong together, and where each row's particle lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, NoPicks
from ..model.coordinates import FloatArray
from .cryosparc_groups import is_group, members, rows_of
from .table.cs_tables import Dataset, read_dataset

UID = "uid"
PATH = "location/micrograph_path"
SHAPE = "location/micrograph_shape"
X = "location/center_x_frac"
Y = "location/center_y_frac"
PIXEL = "location/micrograph_psize_A"
SCORE = "pick_stats/ncc_score"
CLASS = "alignments2D/class"
_NEEDED = (PATH, SHAPE, X, Y)
#: Kinds of NumPy type, and shape of one row.
_TYPES: dict[str, tuple[str, tuple[int, ...]]] = {
    UID: ("u", ()),
    PATH: ("SO", ()),
    SHAPE: ("ui", (2,)),
    X: ("f", ()),
    Y: ("f", ()),
    PIXEL: ("f", ()),
    SCORE: ("f", ()),
    CLASS: ("ui", ()),
}
PASSTHROUGH = "passthrough"


def read_fields(path: Path) -> Dataset:
    """Read a dataset whose fields are what cryoSPARC makes of them."""
    data = read_dataset(path)
    for name, (kinds, shape) in _TYPES.items():
        column = data.columns.get(name)
        if column is not None and (column.dtype.kind not in kinds or column.shape[1:] != shape):
            raise FormatError(f"field {name} is of type {column.dtype} {column.shape[1:]}, not cryoSPARC's", path)
    if UID not in data.columns or data.columns[UID].dtype.itemsize != 8:
        raise FormatError(f"has no field {UID} of 64 bits", path)
    return data


def main_dataset(path: Path) -> Path:
    """The dataset a path means: itself, or of a group the one that is not there for the positions only."""
    if not is_group(path):
        return path
    named = members(path)
    return next((member for member in named if PASSTHROUGH not in member.name), named[0])


def group_beside(path: Path) -> Path | None:
    """The result group beside that names a dataset; None where there is none, or several do."""
    groups = []
    for group in sorted(path.parent.glob("*.csg")):
        try:
            if path in members(group):
                groups.append(group)
        except FormatError:
            continue  # a group of other files, or damaged: this file is complete without it
    return groups[0] if len(groups) == 1 else None


def is_exposures(columns: Mapping[str, Any]) -> bool:
    """Whether columns are those of exposures: images, and no place of a particle in them."""
    return ("micrograph_blob/path" in columns or "movie_blob/path" in columns) and X not in columns


def _has_positions(data: Dataset) -> bool:
    return all(name in data.columns for name in _NEEDED)


def passthrough_beside(data: Dataset, path: Path) -> Path | None:
    """The passthrough file beside that knows the positions; None where ``data`` knows them itself.

    Raises
    ------
    FormatError
        No file does.
    """
    if _has_positions(data):
        return None
    if is_exposures(data.columns):
        raise NoPicks(
            "is a cryoSPARC dataset of exposures, without picks: give it to --micrographs, or for the defocus to --ctf",
            path,
        )
    group = group_beside(path)
    beside = [] if group is None else members(group)
    beside += sorted(path.parent.glob(f"*{PASSTHROUGH}*.cs"), key=lambda p: (not _belongs(p, path), p.name))
    # a job's files that were renamed are still known by their uids
    best = _with_most_of(data, path, beside) or _with_most_of(data, path, sorted(path.parent.glob("*.cs")))
    if best is None:
        raise FormatError(
            "has no positions (location/*): they are in the job's passthrough file (*_passthrough_particles.cs); "
            "put that beside it",
            path,
        )
    return best


def _with_most_of(data: Dataset, path: Path, candidates: Sequence[Path]) -> Path | None:
    """The file that knows most of the positions of ``data``, which was read from ``path``; None where none does."""
    best: tuple[int, Path] | None = None
    for candidate in dict.fromkeys(candidates):
        if candidate == path:
            continue
        try:
            fields = read_fields(candidate)
        except FormatError:
            continue
        n = int((rows_of(data.columns[UID], fields.columns[UID]) >= 0).sum()) if _has_positions(fields) else 0
        if n and (best is None or n > best[0]):
            best = (n, candidate)
    return None if best is None else best[1]


def _belongs(candidate: Path, path: Path) -> bool:
    """Whether a passthrough file is called after the file it completes."""
    return candidate.name.replace(f"{PASSTHROUGH}_", "") == path.name


def positions_of(located: Dataset) -> tuple[FloatArray, FloatArray]:
    """Centres in px, y counted from the last row."""
    shape = located.columns[SHAPE].astype(np.float64)
    fractions = (located.columns[name].astype(np.float64) for name in (X, Y))
    x, y = (fraction * shape[:, axis] for fraction, axis in zip(fractions, (1, 0), strict=True))
    return x, y


def micrograph_names(column: NDArray[Any], path: Path) -> list[str]:
    """Micrograph paths of a column (n,); cryoSPARC marks some with a ``>`` in front."""
    known: dict[Any, str] = {}
    for value in set(column.tolist()):
        try:
            name = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise FormatError(f"{PATH} holds a name that is not UTF-8", path) from error
        known[value] = name.lstrip(">")
    return [known[value] for value in column.tolist()]


def rows_by_name(names: list[str]) -> dict[str, NDArray[np.intp]]:
    """Rows of each name, in the order of first appearance."""
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        rows.setdefault(name, []).append(index)
    return {name: np.array(index, np.intp) for name, index in rows.items()}
