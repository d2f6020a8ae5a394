"""What somebody has looked at: which parts of each micrograph were on the screen, large enough to judge particles.

A coarse grid for each micrograph, in one file for each curator beside the project's database. It is written at pauses,
makes no step and no history; a file that is lost or damaged means that nobody looked, never that somebody did.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError
from ...formats.atomic import write_text
from ...formats.kept_arrays import read_kept_json
from ...model.micrograph import Micrograph
from ..core.session import Session

log = logging.getLogger(__name__)

FOLDER = "review/seen"
#: Cells along each side of a micrograph.
CELLS = 16

Grid = NDArray[np.bool_]


class Coverage:
    """Which cells of each micrograph were looked at, by this curator and by others.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._mine: dict[int, Grid] = {}
        self._all: dict[int, Grid] = {}
        self._is_new = False
        self.read()

    @property
    def _path(self) -> Path:
        name = hashlib.sha256(self._session.curator.encode()).hexdigest()[:16]
        return self._session.store.folder / FOLDER / f"{name}.json"

    def read(self) -> None:
        """Read what others, and other windows of one's own, have written."""
        for path in sorted((self._session.store.folder / FOLDER).glob("*.json")):
            for number, grid in _kept(path):
                self._all[number] = grid | self._all.get(number, _NOTHING)

    def note(self, micrograph: Micrograph, left: float, top: float, right: float, bottom: float) -> bool:
        """Note that a part was on the screen, canonical px. Returns whether there is a cell that was not seen before.

        A cell counts when its middle was seen.
        """
        if not micrograph.width or not micrograph.height:
            return False
        middle = (np.arange(CELLS) + 0.5) / CELLS
        x, y = middle * micrograph.width, middle * micrograph.height
        seen = np.outer((y >= top) & (y <= bottom), (x >= left) & (x <= right))
        before = self._mine.get(micrograph.id, _NOTHING)
        if not (seen & ~before).any():
            return False
        self._mine[micrograph.id] = before | seen
        self._all[micrograph.id] = self._all.get(micrograph.id, _NOTHING) | seen
        self._is_new = True
        return True

    def seen(self, micrograph: int) -> Grid:
        """(CELLS, CELLS) bool, rows first: what anybody has looked at."""
        return self._all.get(micrograph, _NOTHING).copy()

    def share(self, micrograph: int) -> float:
        """Share of the micrograph that anybody has looked at."""
        return float(self._all.get(micrograph, _NOTHING).mean())

    def write(self) -> None:
        """Keep what was seen since the last time; what another window of the same curator kept stays."""
        store = self._session.store
        if not self._is_new or store.read_only or not store.path.is_file():
            return  # a project that has vanished is not made anew by looking at it
        for number, grid in _kept(self._path):
            self._mine[number] = grid | self._mine.get(number, _NOTHING)
        cells = {str(number): np.packbits(grid).tobytes().hex() for number, grid in sorted(self._mine.items())}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, json.dumps({"curator": self._session.curator, "cells": CELLS, "seen": cells}))
        except (OSError, AnnotatorError) as error:
            log.warning("what was looked at cannot be kept: %s", error)
        self._is_new = False


_NOTHING: Grid = np.zeros((CELLS, CELLS), bool)
_NOTHING.setflags(write=False)


def _kept(path: Path) -> Iterator[tuple[int, Grid]]:
    """The grids in a file; what cannot be read counts as not seen."""
    try:
        kept = read_kept_json(path)
        if kept["cells"] != CELLS:
            return
        for number, text in dict(kept["seen"]).items():
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
            yield int(number), bits.astype(bool).reshape(CELLS, CELLS)
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read: %s", path, error)
