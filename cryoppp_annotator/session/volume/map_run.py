"""What a run against a map, or to a map, is: its options, what it says of each pick, its maps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Decision
from ...model.which import Hidden
from ..classes.run_options import RunOptions

#: Maps of a run, in the order in which they are shown; each may be missing.
MAPS = ("map", "half1", "half2", "reference", "mask")
#: Curves of a run's correlation, as :class:`~cryoppp_annotator.reconstruct.fsc.ShellCorrelation` names them.
CURVES = ("unmasked", "masked", "random", "corrected", "period_A")


@dataclass(frozen=True, slots=True)
class MapRunOptions:
    """Which picks are laid on a map, and which.

    Attributes
    ----------
    map_path : str
        An MRC volume; empty = the first map is made from class averages.
    map_pixel_A : float, optional
        Instead of what the map's header says.
    symmetry : str
        C1, Cn, Dn, T, O or I, in RELION's orientation.
    lowpass_A : float
        Of the reference of the half maps.
    halves : bool
        Make half maps; without a map they are always made.
    decisions : tuple of Decision
    pick_sets, species, micrographs : tuple of int, optional
        Only of these; None = all.
    hidden : tuple of (score, pick sets)
        Undecided picks with a lower score are left out.
    invert : bool
        Particles are dark in the micrographs.
    use_ctf : bool
        Where the defocus of the micrographs is known.
    box_px : int, optional
        Side of the boxes in px of the micrographs; 1.5 diameters by default.
    """

    map_path: str = ""
    map_pixel_A: float | None = None
    symmetry: str = "C1"
    lowpass_A: float = 40.0
    halves: bool = True
    decisions: tuple[Decision, ...] = (Decision.UNDECIDED, Decision.ACCEPTED)
    pick_sets: tuple[int, ...] | None = None
    species: tuple[int, ...] | None = None
    hidden: Hidden = ()
    invert: bool = True
    micrographs: tuple[int, ...] | None = None
    use_ctf: bool = True
    box_px: int | None = None

    @property
    def boxes(self) -> RunOptions:
        """The same picks as a classification names them, whose boxes are shared."""
        return RunOptions(
            decisions=self.decisions,
            pick_sets=self.pick_sets,
            species=self.species,
            micrographs=self.micrographs,
            hidden=self.hidden,
            invert=self.invert,
            use_ctf=self.use_ctf,
            box_px=self.box_px,
        )

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> MapRunOptions:
        """As a run's record keeps them; unknown keys are ignored."""
        known = {name: value for name, value in stored.items() if name in MapRunOptions.__dataclass_fields__}
        for name in ("pick_sets", "species", "micrographs"):
            if known.get(name) is not None:
                known[name] = tuple(known[name])
        if not isinstance(known.get("map_path", ""), str):
            raise TypeError("map_path is no text")
        known["hidden"] = tuple((float(score), tuple(sets)) for score, sets in known.get("hidden", ()))
        known["decisions"] = tuple(Decision(d) for d in known.get("decisions", (0, 1)))
        return MapRunOptions(**known)


@dataclass(frozen=True, eq=False)
class PickVerdicts:
    """What a run says of each pick, one array a column, ordered by pick.

    Attributes
    ----------
    particle, micrograph : (n,) int64
    x, y : (n,) float64, canonical px
        Where the pick lay.
    log_odds : (n,) float32
        That it is the particle; NaN = it has no box.
    error_deg : (n,) float32
        Expected error of its pose.
    matrices : (n, 3, 3) float64
        Its likeliest pose.
    shift_x, shift_y : (n,) float64, canonical px
        From where the pick lay to the particle's centre.
    half : (n,) int8
        Which half map it is in, 0 or 1; -1 = in none.
    """

    particle: NDArray[np.int64]
    micrograph: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    log_odds: NDArray[np.float32]
    error_deg: NDArray[np.float32]
    matrices: NDArray[np.float64]
    shift_x: NDArray[np.float64]
    shift_y: NDArray[np.float64]
    half: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.particle)

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Rows (m,) of picks ``ids`` (m,); -1 where the run knows nothing of one."""
        if not len(self):
            return np.full(len(ids), -1, np.intp)
        row = np.minimum(np.searchsorted(self.particle, ids), len(self) - 1)
        return np.where(self.particle[row] == ids, row, -1)

    def odds_of(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Log odds (m,) of picks ``ids`` (m,); NaN where there are none."""
        rows = self.rows_of(ids)
        if not len(self):
            return np.full(len(ids), math.nan)
        return np.where(rows >= 0, self.log_odds[np.maximum(rows, 0)], math.nan).astype(np.float64)


@dataclass(frozen=True, eq=False)
class MapRun:
    """One run.

    Attributes
    ----------
    number : int
        From 1; 0 = not saved.
    record : mapping
        Provenance: ``engine, version, parameters, inputs, counts, seed, curator, started, seconds``; also ``name``,
        ``head`` (history line up to which picks were seen), ``verdict``, ``notes`` and ``pixel_size_A`` of the maps.
    """

    number: int
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What a list calls it."""
        return str(self.record.get("name", f"run {self.number}"))

    @property
    def verdict(self) -> str:
        """In words."""
        return str(self.record.get("verdict", ""))

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of it."""
        return tuple(str(note) for note in self.record.get("notes", ()))

    @property
    def symmetry(self) -> str:
        """As it was chosen."""
        return self.options.symmetry

    @property
    def pixel_size_A(self) -> float:
        """Of its maps and boxes."""
        return float(self.record.get("pixel_size_A", 1.0))

    @cached_property
    def options(self) -> MapRunOptions:
        """What it was made with."""
        return MapRunOptions.from_json(self.record.get("parameters", {}))


@dataclass(frozen=True, eq=False)
class MapResult:
    """A run with everything that it brought.

    Attributes
    ----------
    run : MapRun
    picks : PickVerdicts
    maps : mapping of a name of :data:`MAPS` to (box, box, box) float32, zyx
    curves : mapping of a name of :data:`CURVES` to (box // 2,) float64
        Empty without half maps.
    """

    run: MapRun
    picks: PickVerdicts
    maps: Mapping[str, NDArray[np.float32]]
    curves: Mapping[str, NDArray[np.float64]]
