"""Walking through a project: from micrograph to micrograph, and from pick to pick in the order in which they matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Decision
from .drawn import Drawn
from .session import Session


class Walking:
    """The order of micrographs and of undecided picks, and the pick that a walk has come to.

    Parameters
    ----------
    session : Session
    drawn : Drawn
        A walk passes by what is not drawn.
    """

    def __init__(self, session: Session, drawn: Drawn) -> None:
        self._session = session
        self._drawn = drawn
        #: The pick that a walk by need has come to, and its direction; None before the first N.
        self.reached: tuple[int, int] | None = None
        #: Whether a decision about the pick of a walk takes the next step of it.
        self.go_on = True
        #: Micrograph ids in the order of the list on the screen (filtered, sorted); None = all, as imported.
        self.order: list[int] | None = None

    def micrographs(self) -> list[int]:
        """Micrograph ids in walking order."""
        return [m.id for m in self._session.micrographs] if self.order is None else self.order

    def neighbour(self, step: int) -> int | None:
        """The micrograph ``step`` places on in walking order; None at the end."""
        order = self.micrographs()
        current = self._session.current_id
        if not order:
            return None
        if current not in order:
            return order[0] if step > 0 else order[-1]
        at = order.index(current) + step
        return order[at] if 0 <= at < len(order) else None

    def by_need(self) -> NDArray[np.int64]:
        """Undecided picks here, the one that matters most first: nearest to the threshold, else in reading order.

        Those below the threshold, too: what lies just below the line is as doubtful as what lies just above.
        """
        p = self._session.particles
        rows = np.flatnonzero(self._undecided())
        if not len(rows):
            return np.zeros(0, np.int64)
        score = np.where(self._drawn.of_scale()[rows], p.score[rows], np.nan)
        if np.isfinite(score).any():
            middle = np.nanmedian(score) if self._drawn.threshold is None else self._drawn.threshold
            distance = np.where(np.isfinite(score), np.abs(score - middle), np.inf)
            return p.id[rows[np.lexsort((p.id[rows], distance))]]
        return p.id[rows[self._reading_order(rows)]]

    def _undecided(self) -> NDArray[np.bool_]:
        p = self._session.particles
        open_picks = p.decision == Decision.UNDECIDED
        return np.asarray(open_picks & self._drawn.without_threshold() & self._drawn.of_set())

    def above(self) -> NDArray[np.int64]:
        """Ids of the undecided picks here that the threshold leaves; one that is only kept in sight is none of them."""
        kept, self._drawn.in_sight = self._drawn.in_sight, None
        try:
            return self._session.particles.id[self._undecided() & ~self._drawn.below()]
        finally:
            self._drawn.in_sight = kept

    def left(self) -> str:
        """What is left to decide, here and in the project."""
        above, here = len(self.above()), int(self._undecided().sum())
        project = sum(m.n_undecided for m in self._session.micrographs)
        sides = f" ({above:,} above the line, {here - above:,} below)" if here > above else ""
        return f"{here:,} undecided here{sides}, {project:,} in the project"

    def _reading_order(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """Order of picks as one reads: lines a diameter high, left to right; those cut by the edge come last."""
        p, current = self._session.particles, self._session.current
        if current is None:
            return np.arange(len(rows))
        x, y, reach = p.x[rows], p.y[rows], 0.5 * self._session.diameters_px(current)[rows]
        cut = (np.minimum(x, y) < reach) | (x + reach > current.width) | (y + reach > current.height)
        line = np.floor(y / self._session.settings.diameter_px(current))
        return np.lexsort((y, x, line, cut))

    def open_elsewhere(self, *, below: bool = False) -> set[int]:
        """Micrographs with undecided picks that a walk would stop at: of the chosen pick set, above the threshold.

        ``below``: also those below it.
        """
        hidden = () if below else self._drawn.hidden()
        drawn = self._drawn.of_bulk(hidden)
        if drawn.pick_sets is None and drawn.species is None and not hidden:
            return {m.id for m in self._session.micrographs if m.n_undecided}
        return set(self._session.store.count_by_micrograph(drawn))

    def direction(self, selected: NDArray[np.int64]) -> int:
        """Direction of the walk that has come to the selected pick; 0 where another or none is selected.

        Parameters
        ----------
        selected : (n,) int64, particle ids
        """
        at_pick = self.reached is not None and selected.tolist() == [self.reached[0]]
        return self.reached[1] if at_pick and self.reached is not None else 0
