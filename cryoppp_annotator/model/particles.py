"""The particles of one micrograph as columns, and how a delta changes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coordinates import FloatArray, to_yx
from .curation import Decision, Delta, Kind

#: Column name -> dtype of a particle row held in memory (``id`` apart). NaN = not known.
COLUMNS: dict[str, Any] = {
    "micrograph": np.int64,
    "pick_set": np.int64,
    "x": np.float64,
    "y": np.float64,
    "diameter_A": np.float64,
    "score": np.float64,
    "decision": np.int8,
    "reason": np.int8,
    "class_id": np.int32,
    "species": np.int32,
}


@dataclass(frozen=True, eq=False)
class Particles:
    """Particles, one array per column, ordered by id.

    Attributes
    ----------
    id : (n,) int64
    micrograph, pick_set : (n,) int64
    x, y : (n,) float64, canonical px
    diameter_A : (n,) float64, angstrom; NaN = the project's diameter
    score : (n,) float64; NaN = none
    decision, reason : (n,) int8, see :class:`~.curation.Decision` and :class:`~.curation.Reason`
    class_id : (n,) int32; 0 = not classified
    species : (n,) int32, see :class:`~.species.Species`; 0 = of none
    """

    id: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    pick_set: NDArray[np.int64]
    x: FloatArray
    y: FloatArray
    diameter_A: FloatArray
    score: FloatArray
    decision: NDArray[np.int8]
    reason: NDArray[np.int8]
    class_id: NDArray[np.int32]
    species: NDArray[np.int32]

    @staticmethod
    def empty() -> Particles:
        """No particles."""
        return Particles(np.zeros(0, np.int64), **{name: np.zeros(0, dtype) for name, dtype in COLUMNS.items()})

    @staticmethod
    def from_columns(ids: NDArray[np.int64], columns: Mapping[str, NDArray[Any]]) -> Particles:
        """Build from ids (n,) and columns (n,) or (1,), which are repeated; missing ones take their "unknown" value."""
        n = len(ids)
        full: dict[str, NDArray[Any]] = {}
        for name, dtype in COLUMNS.items():
            default = np.nan if name in ("diameter_A", "score") else 0
            column = np.asarray(columns.get(name, default), dtype=dtype)
            full[name] = np.array(np.broadcast_to(column, (n,)))
        return Particles(np.asarray(ids, np.int64), **full)

    def __len__(self) -> int:
        return len(self.id)

    @property
    def yx(self) -> FloatArray:
        """(n, 2) float64, yx, canonical px: what napari draws."""
        return to_yx(self.x, self.y)

    def take(self, index: Any) -> Particles:
        """Rows by mask or integer index."""
        return Particles(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def columns(self) -> dict[str, NDArray[Any]]:
        """All columns but the id."""
        return {name: getattr(self, name) for name in COLUMNS}

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Row numbers of ``ids`` (m,), -1 where absent."""
        if len(self) == 0:
            return np.full(len(ids), -1, dtype=np.intp)
        rows = np.searchsorted(self.id, ids)
        rows = np.minimum(rows, len(self) - 1)
        return np.where(self.id[rows] == ids, rows, -1)

    def count(self, decision: Decision) -> int:
        """How many carry ``decision``."""
        return int(np.count_nonzero(self.decision == decision))


def apply_delta(particles: Particles, delta: Delta, micrograph: int | None) -> Particles:
    """Particles of ``micrograph`` after ``delta`` (which may touch other micrographs too); twice does no harm.

    ``micrograph`` None: the particles are those of the whole project.
    """
    if micrograph is not None:
        delta = _part_on(delta, micrograph)
    n = len(delta)
    if delta.kind is Kind.INSERT:
        new = Particles.from_columns(delta.ids, delta.after)
        here = micrograph is None or (new.micrograph == micrograph)
        new = new.take(here & (particles.rows_of(new.id) < 0))
        if not len(new):
            return particles
        joined = {f.name: np.concatenate([getattr(particles, f.name), getattr(new, f.name)]) for f in fields(Particles)}
        order = np.argsort(joined["id"], kind="stable")
        return Particles(**{name: column[order] for name, column in joined.items()})
    rows = particles.rows_of(delta.ids)
    known = rows >= 0
    if not known.any():
        return particles
    if delta.kind is Kind.DELETE:
        keep = np.ones(len(particles), bool)
        keep[rows[known]] = False
        return particles.take(keep)
    changed: dict[str, NDArray[Any]] = {}
    for name, values in delta.after.items():
        if name not in COLUMNS:
            continue
        column = getattr(particles, name).copy()
        column[rows[known]] = np.broadcast_to(values, (n,))[known]
        changed[name] = column
    return replace(particles, **changed)


def _part_on(delta: Delta, micrograph: int) -> Delta:
    """The rows of a delta that lie on a micrograph: of a change to a whole data set hardly any."""
    n = len(delta)
    if n <= 1 or len(delta.micrograph) != n:
        return delta
    mine = delta.micrograph == micrograph
    before, after = (
        {name: column if len(column) == 1 else column[mine] for name, column in columns.items()}
        for columns in (delta.before, delta.after)
    )
    return Delta(delta.table, delta.kind, delta.ids[mine], before, after, delta.micrograph[mine])


def tally(delta: Delta) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What a delta of particles does to the counts of micrographs.

    Returns
    -------
    micrographs : (k,) int64
    steps : (k, 3) int64
        By how much there are more undecided, accepted and rejected ones.
    """
    n = len(delta)
    micrograph = np.broadcast_to(delta.micrograph, (n,))
    first = np.flatnonzero(np.r_[n > 0, micrograph[1:] != micrograph[:-1]])
    touched, row_of_run = np.unique(micrograph[first], return_inverse=True)
    row = np.repeat(row_of_run.astype(np.int32), np.diff(np.r_[first, n]))  # rows lie in runs: those are few to sort
    steps = np.zeros((len(touched), 3), np.int64)
    for columns, sign in ((delta.before, -1), (delta.after, 1)):
        if "decision" in columns:
            decision = np.broadcast_to(columns["decision"], (n,))
            counts = np.bincount(3 * row + decision, minlength=steps.size)
            steps += sign * counts.reshape(steps.shape)
    return touched, steps
