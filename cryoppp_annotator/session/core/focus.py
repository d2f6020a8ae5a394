"""What the curator is pointing at: selected picks, the pick under the pointer, the order of micrographs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ...model.curation import Change, Decision, Table
from ...model.region import holds
from ...model.which import Hidden, Which, only
from .session import Announcement, Session


class Focus:
    """Selection and walking order over a session; nothing of it is stored.

    Parameters
    ----------
    session : Session
    """

    selection_changed = Signal()
    threshold_changed = Signal()

    def __init__(self, session: Session) -> None:
        self.session = session
        self.selected: NDArray[np.int64] = np.zeros(0, np.int64)
        self.hovered: int | None = None
        #: Where the pointer is, (x, y) canonical px; None where it is not on the micrograph.
        self.pointer: tuple[float, float] | None = None
        self.show_rejected = True
        #: The one pick set that is drawn and that bulk decisions act on; None = all.
        self.pick_set: int | None = None
        #: The score that "above" and "below" mean, of each picker (or chosen pick set): they have none in common.
        self.thresholds: dict[str, float] = {}
        #: The pick that a walk by need has come to, and its direction; None before the first N.
        self.walked: tuple[int, int] | None = None
        #: Whether a decision about the pick of a walk takes the next step of it.
        self.go_on = True
        #: Micrograph ids in the order of the list on the screen (filtered, sorted); None = all, as imported.
        self.order: list[int] | None = None
        session.changed.connect(self._on_changed)
        session.current_changed.connect(self.clear)

    def targets(self) -> NDArray[np.int64]:
        """Ids an edit acts on: the selection, else the pick under the pointer, where it is drawn."""
        if len(self.selected):
            return self.selected
        drawn = self.hovered is not None and self.hovered in self.session.particles.id[self.shown()]
        return np.array([self.hovered] if drawn else [], np.int64)

    def select(self, ids: Iterable[int]) -> None:
        """Replace the selection."""
        new = np.unique(np.fromiter(ids, dtype=np.int64))
        if not np.array_equal(new, self.selected):
            self.selected = new
            self.selection_changed.emit()

    def toggle(self, ids: Iterable[int]) -> None:
        """Add to the selection what is not in it, take out what is."""
        self.select(np.setxor1d(self.selected, np.unique(np.fromiter(ids, dtype=np.int64))))

    def clear(self) -> None:
        """Select nothing."""
        self.hovered = None
        self.select(())

    def shown(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles that are drawn."""
        p = self.session.particles
        mask = np.ones(len(p), bool) if self.show_rejected else np.asarray(p.decision != Decision.REJECTED)
        if self.pick_set is not None:
            # one's own picks are never out of sight
            mask &= (p.pick_set == self.pick_set) | np.isin(p.pick_set, self._hand_sets())
        return mask & ~self.below()

    def of_set(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles that bulk decisions act on: those of the chosen pick set."""
        p = self.session.particles
        return np.ones(len(p), bool) if self.pick_set is None else np.asarray(p.pick_set == self.pick_set)

    def below(self) -> NDArray[np.bool_]:
        """(n,) mask of undecided candidates whose score is below their picker's threshold: they are not drawn."""
        p = self.session.particles
        low = np.zeros(len(p), bool)
        with np.errstate(invalid="ignore"):
            for threshold, sets in self.hidden():
                low |= (p.score < threshold) & np.isin(p.pick_set, sets)
        return np.asarray(low & (p.decision == Decision.UNDECIDED))

    def hidden(self) -> Hidden:
        """Every picker's threshold, and its pick sets."""
        of: dict[str, list[int]] = {}
        for i in self.proposed_sets():
            of.setdefault(self._picker_of(i), []).append(i)
        return tuple((self.thresholds[name], tuple(sets)) for name, sets in of.items() if name in self.thresholds)

    @property
    def threshold(self) -> float | None:
        """Of the scores that :meth:`scored_sets` have; None where nobody has set one."""
        return self.thresholds.get(self._scale())

    def _scale(self) -> str:
        """What the present threshold is kept under: a picker, a pick set that no picker proposed, or all."""
        sets = self.scored_sets()
        if sets is None:
            return ""
        return self._picker_of(sets[0]) if sets[0] in self.proposed_sets() else f"pick set {sets[0]}"

    def proposed_sets(self) -> list[int]:
        """Pick sets a picker proposed."""
        return [i for i, pick_set in self.session.pick_sets.items() if pick_set.proposed]

    def set_threshold(self, value: float | None) -> None:
        """Set the threshold and say so; what is not drawn any more is not selected."""
        scale = self._scale()
        if value is None:
            self.thresholds.pop(scale, None)
        else:
            self.thresholds[scale] = value
        self.threshold_changed.emit()
        if len(self.selected):
            self.select(np.setdiff1d(self.selected, self.session.particles.id[self.below()]))

    def scored_sets(self) -> tuple[int, ...] | None:
        """Pick sets whose scores the threshold means; None = all.

        A probability and a number of standard deviations have no threshold in common: it is that of the chosen pick
        set, else of the picker that proposed last.
        """
        if self.pick_set is not None:
            return (self.pick_set,)
        proposed = self.proposed_sets()
        if not proposed:
            return None
        last = self._picker_of(max(proposed))
        return tuple(i for i in proposed if self._picker_of(i) == last)

    def _picker_of(self, pick_set: int) -> str:
        return self.session.pick_sets[pick_set].picker

    def of_scale(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles whose scores the threshold means."""
        p, sets = self.session.particles, self.scored_sets()
        return np.ones(len(p), bool) if sets is None else np.asarray(np.isin(p.pick_set, sets))

    def hidden_at(self, x: float, y: float) -> int | None:
        """Id of the candidate below the threshold that stands in the way of a pick at ``(x, y)``, canonical px."""
        micrograph, p, below = self.session.current, self.session.particles, self.below()
        if micrograph is None or not below.any():
            return None
        distance = np.hypot(p.x[below] - x, p.y[below] - y)
        nearest = int(np.argmin(distance))
        limit = 0.5 * self.session.settings.diameter_px(micrograph)
        return int(p.id[below][nearest]) if distance[nearest] < limit else None

    def _hand_sets(self) -> list[int]:
        return [i for i in self.session.pick_sets if self.session.is_hand_set(i)]

    def at(self, x: float, y: float) -> int | None:
        """Id of the drawn pick whose ring holds ``(x, y)`` (canonical px), the nearest where several do."""
        micrograph = self.session.current
        if micrograph is None:
            return None
        p = self.session.particles
        mask = self.shown()
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
        return p.id[near & self.shown()]

    def inside(self, polygon: NDArray[np.float64]) -> NDArray[np.int64]:
        """Ids of drawn picks whose centre lies in a polygon (k, 2) float64, xy, px (even-odd rule)."""
        p = self.session.particles
        return p.id[holds(polygon[:, ::-1], p.y, p.x) & self.shown()]

    def walk(self) -> list[int]:
        """Micrograph ids in walking order."""
        return [m.id for m in self.session.micrographs] if self.order is None else self.order

    def neighbour(self, step: int) -> int | None:
        """The micrograph ``step`` places on in walking order; None at the end."""
        order = self.walk()
        current = self.session.current_id
        if not order:
            return None
        if current not in order:
            return order[0] if step > 0 else order[-1]
        at = order.index(current) + step
        return order[at] if 0 <= at < len(order) else None

    def by_need(self) -> NDArray[np.int64]:
        """Undecided picks here, the one that matters most first: nearest to the threshold, else in reading order."""
        p = self.session.particles
        rows = np.flatnonzero((p.decision == Decision.UNDECIDED) & self.shown() & self.of_set())
        if not len(rows):
            return np.zeros(0, np.int64)
        score = np.where(self.of_scale()[rows], p.score[rows], np.nan)
        if np.isfinite(score).any():
            middle = np.nanmedian(score) if self.threshold is None else self.threshold
            distance = np.where(np.isfinite(score), np.abs(score - middle), np.inf)
            return p.id[rows[np.lexsort((p.id[rows], distance))]]
        return p.id[rows[self._reading_order(rows)]]

    def _reading_order(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Order of picks as one reads: lines a diameter high, left to right; those cut by the edge come last."""
        p, current = self.session.particles, self.session.current
        if current is None:
            return np.arange(len(rows))
        x, y, reach = p.x[rows], p.y[rows], 0.5 * self.session.diameters_px(current)[rows]
        cut = (np.minimum(x, y) < reach) | (x + reach > current.width) | (y + reach > current.height)
        line = np.floor(y / self.session.settings.diameter_px(current))
        return np.lexsort((y, x, line, cut))

    def open_elsewhere(self) -> set[int]:
        """Micrographs with undecided picks that a walk would stop at: of the chosen pick set, not hidden."""
        hidden = self.hidden()
        if self.pick_set is None and not hidden:
            return {m.id for m in self.session.micrographs if m.n_undecided}
        drawn = Which(decisions=(Decision.UNDECIDED,), pick_sets=only(self.pick_set), hidden=hidden)
        return set(self.session.store.count_by_micrograph(drawn))

    def walk_to(self, particle: int, step: int) -> None:
        """Select a pick as the one a walk by need has come to."""
        self.walked = (particle, step)
        self.select([particle])

    def walking(self) -> int:
        """Direction of the walk whose pick is selected; 0 where something else is, or nothing."""
        on = self.walked is not None and self.selected.tolist() == [self.walked[0]]
        return self.walked[1] if on and self.walked is not None else 0

    def _on_changed(self, announcement: Announcement) -> None:
        if announcement.kind == "undo" and announcement.change is not None and self.walking():
            self._walk_back(announcement.change)
        if self.pick_set is not None and self.pick_set not in self.session.pick_sets:
            self.pick_set = None  # its import was undone
        self.hovered = None if self.pointer is None else self.at(*self.pointer)
        here = np.intersect1d(self.selected, self.session.particles.id)
        if len(here) != len(self.selected):
            self.select(here)

    def _walk_back(self, undone: Change) -> None:
        """The walk stands at the pick whose decision was taken back, not at the one after it."""
        ids = [delta.ids for delta in undone.deltas if delta.table is Table.PARTICLE and "decision" in delta.after]
        if len(ids) == 1 and len(ids[0]) == 1 and ids[0][0] in self.session.particles.id and self.walked is not None:
            self.walk_to(int(ids[0][0]), self.walked[1])
