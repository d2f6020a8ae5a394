"""What the curator is pointing at: the selected picks and the pick under the pointer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ...model.curation import Change, Table
from ...model.region import holds
from .drawn import Drawn
from .session import Announcement, Session
from .walking import Walking


class Focus:
    """Selection and pointer over a session, with what is drawn and where a walk has come to; nothing of it is stored.

    Parameters
    ----------
    session : Session

    Attributes
    ----------
    drawn : Drawn
    walking : Walking
    """

    selection_changed = Signal()
    species_changed = Signal()

    def __init__(self, session: Session) -> None:
        self.session = session
        self.drawn = Drawn(session)
        self.walking = Walking(session, self.drawn)
        self.selected: NDArray[np.int64] = np.zeros(0, np.int64)
        self.hovered: int | None = None
        #: Where the pointer is, (x, y) canonical px; None where it is not on the micrograph.
        self.pointer: tuple[float, float] | None = None
        session.changed.connect(self._on_changed)
        session.current_changed.connect(self.clear)
        self.drawn.threshold_changed.connect(self._on_threshold)
        self.drawn.changed.connect(self._on_drawn)

    def targets(self) -> NDArray[np.int64]:
        """Ids an edit acts on: the selection, else the pick under the pointer, where it is drawn."""
        if len(self.selected):
            return self.selected
        drawn = self.hovered is not None and self.hovered in self.session.particles.id[self.drawn.mask()]
        return np.array([self.hovered] if drawn else [], np.int64)

    def select(self, ids: Iterable[int]) -> None:
        """Replace the selection."""
        new = np.unique(np.fromiter(ids, dtype=np.int64))
        if not np.array_equal(new, self.selected):
            self.selected = new
            if self.drawn.in_sight is not None and self.drawn.in_sight not in new:
                self.drawn.keep_in_sight(None)
            self.selection_changed.emit()

    def choose_species(self, number: int) -> None:
        """New picks, made by hand and proposed, are of this species; 0 = of none."""
        if number != self.session.loaded.current_species:
            self.session.loaded.current_species = number
            self.species_changed.emit()

    def _on_drawn(self) -> None:
        """What is not drawn any more is not selected."""
        self.select(np.intersect1d(self.selected, self.session.particles.id[self.drawn.mask()]))

    def toggle(self, ids: Iterable[int]) -> None:
        """Add to the selection what is not in it, take out what is."""
        self.select(np.setxor1d(self.selected, np.unique(np.fromiter(ids, dtype=np.int64))))

    def clear(self) -> None:
        """Select nothing."""
        self.hovered = None
        self.select(())

    def at(self, x: float, y: float) -> int | None:
        """Id of the drawn pick whose ring holds ``(x, y)`` (canonical px), the nearest where several do."""
        micrograph = self.session.current
        if micrograph is None:
            return None
        p = self.session.particles
        mask = self.drawn.mask()
        if not mask.any():
            return None
        distance = np.hypot(p.x[mask] - x, p.y[mask] - y)
        radius = 0.5 * self.session.diameters_px(micrograph)[mask]
        inside = np.flatnonzero(distance <= radius)
        if not len(inside):
            return None
        nearest = inside[np.argmin(distance[inside])]
        return int(p.id[mask][nearest])

    def within(self, x: float, y: float, radius: float) -> NDArray[np.int64]:
        """Ids of drawn picks whose centre lies within ``radius`` px of ``(x, y)``."""
        p = self.session.particles
        near = np.hypot(p.x - x, p.y - y) <= radius
        return p.id[near & self.drawn.mask()]

    def inside(self, polygon: NDArray[np.float64]) -> NDArray[np.int64]:
        """Ids of drawn picks whose centre lies in a polygon (k, 2) float64, xy, px (even-odd rule)."""
        p = self.session.particles
        return p.id[holds(polygon[:, ::-1], p.y, p.x) & self.drawn.mask()]

    def walk_to(self, particle: int, step: int) -> None:
        """Select a pick as the one a walk by need has come to."""
        self.walking.reached = (particle, step)
        self.drawn.keep_in_sight(particle)
        self.select([particle])

    def _on_threshold(self) -> None:
        """What is not drawn any more is not selected."""
        if len(self.selected):
            self.select(np.setdiff1d(self.selected, self.session.particles.id[self.drawn.below()]))

    def _on_changed(self, announcement: Announcement) -> None:
        undone = announcement.change if announcement.kind == "undo" else None
        if undone is not None and (direction := self.walking.direction(self.selected)):
            self._walk_back(undone, direction)
        if self.drawn.pick_set is not None and self.drawn.pick_set not in self.session.pick_sets:
            self.drawn.pick_set = None  # its import was undone
        if self.drawn.only_species not in (None, 0, *self.session.species):
            self.drawn.only_species = None
        self.hovered = None if self.pointer is None else self.at(*self.pointer)
        here = np.intersect1d(self.selected, self.session.particles.id)
        if len(here) != len(self.selected):
            self.select(here)

    def _walk_back(self, undone: Change, direction: int) -> None:
        """The walk stands at the pick whose decision was taken back, not at the one after it."""
        ids = [delta.ids for delta in undone.deltas if delta.table is Table.PARTICLE and "decision" in delta.after]
        if len(ids) == 1 and len(ids[0]) == 1 and ids[0][0] in self.session.particles.id:
            self.walk_to(int(ids[0][0]), direction)
