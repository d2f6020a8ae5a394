"""What a session holds of its project in memory, and how that follows a change that the store has confirmed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.coordinates import FloatArray
from ...model.curation import Change, Decision, Delta, Kind, Table
from ...model.micrograph import Micrograph, MicrographState
from ...model.particles import Particles, tally
from ...model.pick_set import PickSet
from ...model.species import NO_SPECIES, Species
from ...store.store import Store
from .settings import ProjectSettings

#: By how much the counts of micrographs (k,) int64 have changed, (k, 3) int64, for each delta of particles.
Tallies = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]

#: Columns of a micrograph that curators set, not its file.
CURATED = (
    "own_pixel_size_A",
    "frame",
    "state",
    "state_by",
    "optics",
    "picture",
    "assigned",
    "n_accepted",
    "n_undecided",
    "n_rejected",
)


class LoadedRows:
    """Settings, micrographs and pick sets of a project.

    Parameters
    ----------
    store : Store
        What is read at the start, and again by :meth:`read`.

    Attributes
    ----------
    settings : ProjectSettings
    micrographs : list of Micrograph
        By id.
    removed : dict of id to Micrograph
        Taken out of the project, and kept until they are deleted for good.
    pick_sets : dict of id to PickSet
    species : dict of id to Species
    current_species : int
        The species of new picks, hand-made and proposed; 0 = of none. Not stored: each window has its own.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.current_species = NO_SPECIES
        self.read()

    def read(self) -> None:
        """Read everything (again)."""
        self.settings = ProjectSettings(self._store.settings())
        self._sort(self._store.micrographs())
        self.pick_sets = {pick_set.id: pick_set for pick_set in self._store.pick_sets()}
        self.species = {one.id: one for one in self._store.species()}
        self._forget_species()

    def _sort(self, every: Iterable[Micrograph]) -> None:
        """Keep what was removed apart from what is there."""
        ordered = sorted(every, key=lambda m: m.id)
        self.micrographs = [m for m in ordered if m.state is not MicrographState.REMOVED]
        self.removed = {m.id: m for m in ordered if m.state is MicrographState.REMOVED}
        self._row = {m.id: i for i, m in enumerate(self.micrographs)}
        self._counts: dict[str, int] | None = None

    def __contains__(self, micrograph_id: int) -> bool:
        return micrograph_id in self._row or micrograph_id in self.removed

    def micrograph(self, micrograph_id: int) -> Micrograph:
        """A micrograph by id, a removed one, too. Raises KeyError."""
        row = self._row.get(micrograph_id)
        return self.removed[micrograph_id] if row is None else self.micrographs[row]

    def row_of(self, micrograph_id: int) -> int:
        """Place of a micrograph in :attr:`micrographs`. Raises KeyError."""
        return self._row[micrograph_id]

    def put(self, micrographs: Iterable[Micrograph]) -> None:
        """Replace some micrographs."""
        moved = {}
        self._counts = None
        for micrograph in micrographs:
            row = self._row.get(micrograph.id)
            if (row is None) == (micrograph.state is MicrographState.REMOVED):
                if row is None:
                    self.removed[micrograph.id] = micrograph
                else:
                    self.micrographs[row] = micrograph
            else:
                moved[micrograph.id] = micrograph
        if moved:
            every = {m.id: m for m in [*self.micrographs, *self.removed.values()]}
            self._sort({**every, **moved}.values())

    def put_files(self, micrographs: Iterable[Micrograph], *, with_frame: bool = False) -> None:
        """Replace what the files say of some micrographs; what curators say of them stays.

        Parameters
        ----------
        with_frame : bool
            The chosen image of a multi-frame file is replaced, too.
        """
        kept = [name for name in CURATED if not (with_frame and name == "frame")]
        for micrograph in micrographs:
            now = self.micrograph(micrograph.id)
            self.put([replace(micrograph, **{name: getattr(now, name) for name in kept})])

    def set_settings(self, changed: Mapping[str, Any]) -> None:
        """Let the settings follow what was stored."""
        self.settings = self.settings.after(changed)

    def follow(self, change: Change, tallies: Tallies | None = None) -> None:
        """Follow a change that the store has confirmed."""
        if any(delta.table is Table.MICROGRAPH and delta.kind is not Kind.UPDATE for delta in change.deltas):
            self.read()  # micrographs have come or gone
            return
        picks = [delta for delta in change.deltas if delta.table is Table.PARTICLE]
        for touched, steps in tallies or map(tally, picks):
            self.put(self._recounted(touched, steps))
        for delta in change.deltas:
            if delta.table is Table.MICROGRAPH:
                self.put(self._updated(delta))
            elif delta.table is Table.SETTING:
                self.set_settings(_settings_after(delta))
            elif delta.table is Table.PICK_SET:
                self._follow_pick_sets(delta)
            elif delta.table is Table.SPECIES:
                self._follow_species(delta)

    def _recounted(self, touched: NDArray[np.int64], steps: NDArray[np.int64]) -> Iterator[Micrograph]:
        """Micrographs ``touched`` (k,) with so many more undecided, accepted and rejected picks (k, 3)."""
        for i, (undecided, accepted, rejected) in zip(touched.tolist(), steps.tolist(), strict=True):
            m = self.micrograph(i)
            yield replace(
                m,
                n_undecided=m.n_undecided + undecided,
                n_accepted=m.n_accepted + accepted,
                n_rejected=m.n_rejected + rejected,
            )

    def _updated(self, delta: Delta) -> Iterator[Micrograph]:
        """Micrographs of an update of their table as they are after it."""
        for k, i in enumerate(delta.ids.tolist()):
            values: dict[str, Any] = {}
            for name, column in delta.after.items():
                value = np.broadcast_to(column, (len(delta),))[k].item()
                if name == "state":
                    value = MicrographState(value)
                elif name in ("own_pixel_size_A", "header_pixel_size_A") and value != value:
                    value = None
                values[name] = value
            yield replace(self.micrograph(i), **values)

    def _follow_pick_sets(self, delta: Delta) -> None:
        for k, i in enumerate(delta.ids.tolist()):
            if delta.kind is Kind.DELETE:
                self.pick_sets.pop(i, None)
            elif delta.kind is Kind.UPDATE:  # of a set only its name and colour change
                values: dict[str, Any] = {name: str(column[k]) for name, column in delta.after.items()}
                self.pick_sets[i] = replace(self.pick_sets[i], **values)
            else:
                self.pick_sets[i] = PickSet.from_row({"id": i, **{n: str(c[k]) for n, c in delta.after.items()}})

    def _follow_species(self, delta: Delta) -> None:
        for k, i in enumerate(delta.ids.tolist()):
            if delta.kind is Kind.DELETE:
                self.species.pop(i, None)
            else:
                values = {"id": i, **{name: column[k].item() for name, column in delta.after.items()}}
                self.species[i] = Species.from_row(values)
        self.species = dict(sorted(self.species.items()))
        self._forget_species()

    def _forget_species(self) -> None:
        """One that is gone is not that of new picks."""
        if self.current_species not in self.species:
            self.current_species = NO_SPECIES

    def counts(self) -> dict[str, int]:
        """Particles by decision over the project."""
        if self._counts is None:  # asked for many times after each step, and there may be 50,000 micrographs
            order = (Decision.ACCEPTED, Decision.UNDECIDED, Decision.REJECTED)
            self._counts = {d.name.lower(): sum(m.n_of(d) for m in self.micrographs) for d in order}
        return dict(self._counts)

    @property
    def new_diameter_A(self) -> float:
        """What new picks measure, angstrom: the current species' diameter, else the project's."""
        return self.diameter_of(self.current_species)

    def diameter_of(self, species: int) -> float:
        """What a species measures, angstrom; the project's where it says nothing."""
        one = self.species.get(species)
        return self.settings.diameter_A if one is None or one.diameter_A is None else one.diameter_A

    def diameters_A(self, particles: Particles) -> FloatArray:
        """(n,) float64 diameters of picks, angstrom: their own, else their species', else the project's."""
        usual = np.full(len(particles), self.settings.diameter_A)
        for one in self.species.values():
            if one.diameter_A is not None:
                usual[particles.species == one.id] = one.diameter_A
        return np.where(np.isnan(particles.diameter_A), usual, particles.diameter_A)


def _settings_after(delta: Delta) -> dict[str, Any]:
    pairs = zip(delta.after["key"], delta.after["value"], strict=True)
    return {str(key): json.loads(str(value)) for key, value in pairs}
