"""Which picks of the current micrograph are drawn: of which pick set, rejected ones or not, above which scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from ...model.curation import Decision
from ...model.which import Hidden, Which, only
from .session import Session


class Drawn:
    """The chosen pick set and the thresholds of scores; nothing of it is stored.

    Parameters
    ----------
    session : Session
    """

    threshold_changed = Signal()
    #: Other pick sets or species are drawn.
    changed = Signal()
    #: Another candidate below its threshold is drawn, or none.
    in_sight_changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = session
        self.show_rejected = True
        #: The one pick set that is drawn and that bulk decisions act on; None = all.
        self.pick_set: int | None = None
        #: Pick sets that are not drawn and that bulk decisions leave alone.
        self.hidden_sets: set[int] = set()
        #: The one species that is drawn and that bulk decisions act on, 0 = picks of none; None = all.
        self.only_species: int | None = None
        #: Thresholds of single pick sets, which overrule their picker's.
        self.set_thresholds: dict[int, float] = {}
        #: The score that "above" and "below" mean, of each picker (or chosen pick set): they have none in common.
        self.thresholds: dict[str, float] = {}
        #: A candidate that is drawn though it is below its threshold: the one a walk has come to.
        self.in_sight: int | None = None

    def mask(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles that are drawn."""
        return self.without_threshold() & ~self.below()

    def without_threshold(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles that would be drawn without thresholds."""
        p = self._session.particles
        mask = np.ones(len(p), bool) if self.show_rejected else np.asarray(p.decision != Decision.REJECTED)
        if self.pick_set is not None:
            # one's own picks are never out of sight
            mask &= (p.pick_set == self.pick_set) | np.isin(p.pick_set, self._hand_sets())
        return mask & self._not_hidden()

    def _not_hidden(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles of pick sets and species that are drawn."""
        p = self._session.particles
        mask = np.ones(len(p), bool) if self.only_species is None else np.asarray(p.species == self.only_species)
        return mask & ~np.isin(p.pick_set, list(self.hidden_sets))

    def sets(self) -> tuple[int, ...] | None:
        """Pick sets that bulk decisions act on: the chosen one, else those that are drawn; None = all."""
        if self.pick_set is not None or not self.hidden_sets:
            return only(self.pick_set)
        return tuple(i for i in self._session.pick_sets if i not in self.hidden_sets)

    def of_bulk(self, hidden: Hidden = (), micrograph: int | None = None) -> Which:
        """Undecided picks that bulk decisions act on, on one micrograph or in the project."""
        undecided = (Decision.UNDECIDED,)
        return Which(only(micrograph), undecided, self.sets(), hidden=hidden, species=only(self.only_species))

    def hide_set(self, number: int, hidden: bool = True) -> None:
        """Draw a pick set, or do not, and say so."""
        (self.hidden_sets.add if hidden else self.hidden_sets.discard)(number)
        self.changed.emit()

    def show_only(self, species: int | None) -> None:
        """Draw one species only (0 = picks of none; None = all), and say so."""
        self.only_species = species
        self.changed.emit()

    def set_threshold_of(self, pick_set: int, value: float | None) -> None:
        """Give one pick set a threshold of its own (None = its picker's again), and say so."""
        if value is None:
            self.set_thresholds.pop(pick_set, None)
        else:
            self.set_thresholds[pick_set] = value
        self.threshold_changed.emit()

    def of_set(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles that bulk decisions act on: those of the chosen pick set."""
        p = self._session.particles
        chosen = np.ones(len(p), bool) if self.pick_set is None else np.asarray(p.pick_set == self.pick_set)
        return chosen & self._not_hidden()

    def below(self) -> NDArray[np.bool_]:
        """(n,) mask of undecided candidates whose score is below their picker's threshold: they are not drawn."""
        p = self._session.particles
        low = np.zeros(len(p), bool)
        with np.errstate(invalid="ignore"):
            for threshold, sets in self.hidden():
                low |= (p.score < threshold) & np.isin(p.pick_set, sets)
        return np.asarray(low & (p.decision == Decision.UNDECIDED) & (p.id != (self.in_sight or 0)))

    def keep_in_sight(self, particle: int | None) -> None:
        """Draw one candidate whatever its score; None = none."""
        if particle != self.in_sight:
            self.in_sight = particle
            self.in_sight_changed.emit()

    def hidden(self) -> Hidden:
        """Every picker's threshold and its pick sets, and those of single sets."""
        own = {i: value for i, value in self.set_thresholds.items() if i in self._session.pick_sets}
        of: dict[str, list[int]] = {}
        for i in self.proposed_sets():
            if i not in own:
                of.setdefault(self._picker_of(i), []).append(i)
        pickers = [(self.thresholds[name], tuple(sets)) for name, sets in of.items() if name in self.thresholds]
        return (*pickers, *((value, (i,)) for i, value in own.items()))

    @property
    def threshold(self) -> float | None:
        """Of the scores that :meth:`scored_sets` have; None where none is set."""
        return self.thresholds.get(self._scale())

    def _scale(self) -> str:
        """What the present threshold is kept under: a picker, a pick set that no picker proposed, or all."""
        sets = self.scored_sets()
        if sets is None:
            return ""
        return self._picker_of(sets[0]) if sets[0] in self.proposed_sets() else f"pick set {sets[0]}"

    def proposed_sets(self) -> list[int]:
        """Pick sets a picker proposed."""
        return [i for i, pick_set in self._session.pick_sets.items() if pick_set.proposed]

    def set_threshold(self, value: float | None) -> None:
        """Set the threshold of the scores that :meth:`scored_sets` have, and say so; None = no threshold."""
        scale = self._scale()
        if value is None:
            self.thresholds.pop(scale, None)
        else:
            self.thresholds[scale] = value
        self.threshold_changed.emit()

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
        """What scores of a set can be compared with: its picker's, for the species it looked for."""
        one = self._session.pick_sets[pick_set]
        return f"{one.picker}, species {one.species}" if one.species in self._session.species else one.picker

    def of_scale(self) -> NDArray[np.bool_]:
        """(n,) mask of the current particles whose scores the threshold means."""
        p, sets = self._session.particles, self.scored_sets()
        return np.ones(len(p), bool) if sets is None else np.asarray(np.isin(p.pick_set, sets))

    def hidden_at(self, x: float, y: float) -> int | None:
        """Id of the candidate below the threshold that is too near to a pick at ``(x, y)``, canonical px."""
        micrograph, p, below = self._session.current, self._session.particles, self.below()
        if micrograph is None or not below.any():
            return None
        distance = np.hypot(p.x[below] - x, p.y[below] - y)
        nearest = int(np.argmin(distance))
        limit = 0.5 * self._session.settings.diameter_px(micrograph)
        return int(p.id[below][nearest]) if distance[nearest] < limit else None

    def _hand_sets(self) -> list[int]:
        return [i for i in self._session.pick_sets if self._session.is_hand_set(i)]
