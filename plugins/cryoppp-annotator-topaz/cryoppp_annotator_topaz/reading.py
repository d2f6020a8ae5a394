"""Accepted picks in Topaz's own table, and the micrographs they lie on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryoppp_annotator.api import FormatError, find_micrographs, micrograph_name, read_micrograph

from .training import Labelled


def labelled(picks: Sequence[Path], micrographs: Path) -> list[Labelled]:
    """Bring tables of ``image_name, x_coord, y_coord`` (px of the micrograph) and images together.

    Raises
    ------
    FormatError
        No such table, or a micrograph that is not there.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for path in picks:
        for name, x, y in _rows(path):
            points.setdefault(name, []).append((x, y))
    there = {micrograph_name(path): path for path in find_micrographs(micrographs)}
    missing = sorted(set(points) - set(there))
    if missing:
        raise FormatError(f"holds no micrograph {missing[0]} ({len(missing)} are missing)", micrographs)
    out: list[Labelled] = []
    for name, places in sorted(points.items()):
        x, y = np.array(places, np.float64).T
        out.append(Labelled(name, _reader(there[name]), x, y))
    return out


def _reader(path: Path) -> Callable[[], NDArray[np.float32]]:
    return lambda: np.asarray(read_micrograph(path), np.float32)


def _rows(path: Path) -> list[tuple[str, float, float]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"cannot be read ({error})", path) from error
    names = lines[0].split("\t") if lines else []
    if not {"image_name", "x_coord", "y_coord"} <= set(names):
        raise FormatError("is no Topaz table (image_name, x_coord, y_coord); write one with export --to topaz", path)
    at = [names.index(name) for name in ("image_name", "x_coord", "y_coord")]
    out: list[tuple[str, float, float]] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = line.split("\t")
        try:
            name, x, y = (cells[i] for i in at)
            out.append((name, float(x), float(y)))
        except (IndexError, ValueError) as error:
            raise FormatError(f"a name and two numbers were expected ({error})", path, number) from error
    return out
