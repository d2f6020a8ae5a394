"""The change that a merge makes, worked out row by row, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from ...model.context import JobContext
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.micrograph import FINISHED_STATES, Micrograph, MicrographState
from ...store import whole
from ...store.changes import HistoryEntry
from ..core import edits
from ..core.session import Session
from .merge_history import TwinSets, TwinSpecies, n_common, oldest_first, past_of

#: Picks of different origin nearer than so many diameters are of one particle.
_SAME = 0.25
#: Columns that are compared and taken together, and what each is called.
_GROUPS: dict[str, tuple[str, ...]] = {
    "decision": ("decision", "reason"),
    "position": ("x", "y"),
    "diameter": ("diameter_A",),
    "class": ("class_id",),
    "species": ("species",),
}
Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something that both sides say, and differently; ours stays.

    Attributes
    ----------
    what : str
        ``decision``, ``position``, ``diameter``, ``class``, ``species``, ``state``, ``pixel size``, ``CTF``,
        ``setting``, ``image``, ``removed``, ``deleted``.
    micrograph : str
        Its name; empty for what is of the project.
    particle : int
        Our id of the pick; 0 for what is about none.
    ours, theirs : str
    """

    what: str
    micrograph: str
    particle: int
    ours: str
    theirs: str


@dataclass(eq=False)
class MergeReport:
    """What a merge did, or would do.

    Attributes
    ----------
    micrographs_matched, micrographs_added : int
    picks_same, picks_added, picks_changed, picks_deleted : int
        The same on both sides, taken from the other side, changed as there, deleted as there.
    regions_added, states_taken : int
    conflicts : list of Conflict
    notes : list of str
    """

    micrographs_matched: int = 0
    micrographs_added: int = 0
    picks_same: int = 0
    picks_added: int = 0
    picks_changed: int = 0
    picks_deleted: int = 0
    regions_added: int = 0
    states_taken: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Merging:
    """Works out the change of one merge.

    Parameters
    ----------
    session, other : Session
    matches : mapping of int to int
        Our id of each of their micrographs that is ours.
    report : MergeReport
        Filled in.
    """

    def __init__(self, session: Session, other: Session, matches: Mapping[int, int], report: MergeReport) -> None:
        self._session, self._other, self._matches, self._report = session, other, matches, report
        self._here = {m.id: m for m in session.store.micrographs()}  # the memory does not know those just added
        ours, theirs = oldest_first(session), oldest_first(other)
        common = n_common(ours, theirs)
        self._mine, self._yours = past_of(session, ours, common), past_of(other, theirs, common)
        self._sets = TwinSets(session, other, self._mine, self._yours, common > 0)
        self._species = TwinSpecies(session, other)
        self._deltas: list[Delta] = []
        self._updates: dict[str, list[tuple[int, int, Rows, int, Rows, int]]] = {}
        self._deleted: list[dict[str, NDArray[Any]]] = []
        self._inserted: list[dict[str, NDArray[Any]]] = []

    def change(self, context: JobContext) -> Change | None:
        """What is to be committed; None where the other side has nothing new."""
        n = len(self._matches)
        for i, (theirs, ours) in enumerate(self._matches.items()):
            context.progress(i, n, f"comparing {self._here[ours].name}: {i + 1:,}/{n:,} micrographs")
            self._picks(theirs, ours)
            self._regions(theirs, ours)
        self._micrographs()
        self._settings()
        for our_size, their_size in self._species.different:
            self._conflict("species", None, 0, our_size, their_size)
        updates = [_update(what, rows) for what, rows in self._updates.items()]
        deltas = [*self._species.new, *self._sets.new, *self._deltas, *updates]
        if self._deleted:
            gone = _joined(self._deleted)
            ids = gone.pop("id")
            deltas.append(Delta(Table.PARTICLE, Kind.DELETE, ids, gone, {}, gone["micrograph"]))
        if self._inserted:
            columns = _joined(self._inserted)
            deltas.append(edits.insert_particles(columns, len(columns["x"])))
        if not deltas:
            return None
        where = f"{self._other.store.folder.name} into this project"
        return Change("merge", f"merge {where}", tuple(deltas), None, f"merged {where}")

    def history(self) -> list[HistoryEntry]:
        """The other side's own steps, about our micrographs."""
        return [
            replace(line, micrograph=None if line.micrograph is None else self._matches.get(line.micrograph))
            for line in self._yours.lines
            if line.kind == "do" and line.state == "applied"
        ]

    def _conflict(self, what: str, micrograph: int | None, particle: int, ours: object, theirs: object) -> None:
        name = "" if micrograph is None else self._here[micrograph].name
        self._report.conflicts.append(Conflict(what, name, particle, str(ours), str(theirs)))

    # -------------------------------------------------------------- picks

    def _picks(self, theirs: int, ours: int) -> None:
        with self._session.store.reading() as connection:
            mine = whole.particles_of(connection, ours)
        with self._other.store.reading() as connection:
            yours = self._species.in_ours(whole.particles_of(connection, theirs))
        pairs, new = self._pair(mine, yours, ours)
        for a, b in pairs:
            self._compare(mine, a, yours, b, ours)
        self._report.picks_same += len(pairs)
        self._gone(mine, yours, ours)
        if len(new):
            self._insert(yours, np.array(new, np.intp), ours)

    def _pair(self, mine: Rows, yours: Rows, ours: int) -> tuple[list[tuple[int, int]], list[int]]:
        """Rows of picks that are the same on both sides, and rows of theirs that are new to us."""
        row = {number: i for i, number in enumerate(mine["id"].tolist())}
        pairs: list[tuple[int, int]] = []
        rest: list[int] = []
        for b, number in enumerate(yours["id"].tolist()):
            twin = self._sets.twin(number)
            if twin is None:
                rest.append(b)
            elif twin in row:
                pairs.append((row[twin], b))
            elif number in self._yours.touched:
                self._conflict("deleted", ours, twin, "deleted", _decision(yours, b))
        near, new = self._near(mine, yours, {a for a, _ in pairs}, rest, ours)
        return [*pairs, *near], new

    def _near(
        self, mine: Rows, yours: Rows, taken: set[int], rest: list[int], ours: int
    ) -> tuple[list[tuple[int, int]], list[int]]:
        """Of the rest, those that lie on a pick of ours that has no twin, each with the nearest."""
        free = [a for a in range(len(mine["id"])) if a not in taken]
        if not free or not rest:
            return [], rest
        limit = _SAME * self._session.settings.diameter_px(self._here[ours])
        places = np.column_stack([mine["x"][free], mine["y"][free]])
        nearest = cKDTree(places).query(np.column_stack([yours["x"][rest], yours["y"][rest]]))
        distance, which = np.asarray(nearest[0], np.float64), np.asarray(nearest[1], np.intp)
        pairs: list[tuple[int, int]] = []
        new: list[int] = []
        used: set[int] = set()
        for k in np.argsort(distance, kind="stable").tolist():
            a = free[int(which[k])]
            if distance[k] <= limit and a not in used:
                used.add(a)
                pairs.append((a, rest[k]))
            else:
                new.append(rest[k])
        return pairs, sorted(new)

    def _compare(self, mine: Rows, a: int, yours: Rows, b: int, ours: int) -> None:
        """Take what only they have changed of one pick; list what both have."""
        number, theirs = int(mine["id"][a]), int(yours["id"][b])
        has_twin = self._sets.twin(theirs) is not None
        for what, names in _GROUPS.items():
            if all(_equal(mine[name][a], yours[name][b]) for name in names):
                continue
            if not has_twin and what != "decision":
                continue  # two picks of one particle: each side has its own place for it
            taken = self._taken(what, names, mine, a, yours, b, has_twin)
            if taken is None:
                self._conflict(what, ours, number, _said(what, mine, a), _said(what, yours, b))
            elif taken:
                self._updates.setdefault(what, []).append((number, ours, mine, a, yours, b))
                self._report.picks_changed += 1

    def _taken(
        self, what: str, names: Sequence[str], mine: Rows, a: int, yours: Rows, b: int, has_twin: bool
    ) -> bool | None:
        """Whether theirs is taken; None where that is for a person to say."""
        if not has_twin:  # what either was before is not known
            undecided = int(Decision.UNDECIDED)
            if int(yours["decision"][b]) == undecided:
                return False
            return True if int(mine["decision"][a]) == undecided else None
        by_us = bool(self._mine.touched.get(int(mine["id"][a]), set()) & set(names))
        by_them = bool(self._yours.touched.get(int(yours["id"][b]), set()) & set(names))
        if by_us == by_them:
            return None
        return by_them

    def _gone(self, mine: Rows, yours: Rows, ours: int) -> None:
        """Picks that they deleted: deleted here, too, unless they were worked on here."""
        present = set(yours["id"].tolist())
        for a, number in enumerate(mine["id"].tolist()):
            theirs = self._sets.reverse(number)
            if theirs is None or theirs in present or "deleted" not in self._yours.touched.get(theirs, set()):
                continue
            if number in self._mine.touched:
                self._conflict("deleted", ours, number, _decision(mine, a), "deleted")
                continue
            self._deleted.append({name: column[a : a + 1] for name, column in mine.items()})
            self._report.picks_deleted += 1

    def _insert(self, yours: Rows, rows: NDArray[np.intp], ours: int) -> None:
        part = {name: column[rows] for name, column in yours.items() if name != "id"}
        part["micrograph"] = np.full(len(rows), ours, np.int64)
        part["pick_set"] = np.array([self._sets.ours(int(number)) for number in part["pick_set"]], np.int64)
        self._inserted.append(part)
        self._report.picks_added += len(rows)

    # -------------------------------------------------------------- the rest

    def _regions(self, theirs: int, ours: int) -> None:
        with self._session.store.reading() as connection:
            mine = whole.regions_of(connection, ours)
        with self._other.store.reading() as connection:
            yours = whole.regions_of(connection, theirs)
        known = set(zip(mine["vertices"].tolist(), mine["reason"].tolist(), strict=True))
        rows = [
            k
            for k, number in enumerate(yours["id"].tolist())
            if number not in self._yours.regions and (yours["vertices"][k], yours["reason"][k]) not in known
        ]
        if not rows:
            return
        columns = {name: column[rows] for name, column in yours.items() if name not in ("id", "micrograph")}
        on = np.full(len(rows), ours, np.int64)
        ids = -np.arange(1, len(rows) + 1, dtype=np.int64) - self._report.regions_added
        self._deltas.append(Delta(Table.REGION, Kind.INSERT, ids, {}, {"micrograph": on, **columns}, on))
        self._report.regions_added += len(rows)

    def _micrographs(self) -> None:
        for theirs, ours in self._matches.items():
            a, b = self._here[ours], self._other.micrograph(theirs)
            after: dict[str, Any] = self._state(a, b)
            for name, what in (("own_pixel_size_A", "pixel size"), ("optics", "CTF"), ("assigned", "assignment")):
                mine, yours = getattr(a, name), getattr(b, name)
                if yours and not mine:
                    after[name] = yours
                elif yours and mine != yours:
                    self._conflict(what, ours, 0, mine, yours)
            if after:
                before = {name: _column(getattr(a, name)) for name in after}
                columns = {name: _column(value) for name, value in after.items()}
                self._deltas.append(Delta(Table.MICROGRAPH, Kind.UPDATE, np.array([ours], np.int64), before, columns))
        for removed in self._other.removed.values():
            if any(m.name == removed.name for m in self._session.micrographs):
                self._report.conflicts.append(Conflict("removed", removed.name, 0, "kept", "removed"))

    def _state(self, a: Micrograph, b: Micrograph) -> dict[str, Any]:
        if a.state is b.state or b.state is MicrographState.UNSEEN:
            return {}
        if b.state in FINISHED_STATES and a.state in FINISHED_STATES:
            self._conflict("state", a.id, 0, f"{a.state.value}, {a.state_by}", f"{b.state.value}, {b.state_by}")
            return {}
        if b.state in FINISHED_STATES or a.state is MicrographState.UNSEEN:
            self._report.states_taken += 1
            return {"state": b.state.value, "state_by": b.state_by}
        return {}

    def _settings(self) -> None:
        for key in ("diameter_A", "pixel_size_A", "polarity"):
            mine, yours = self._session.settings.values.get(key), self._other.settings.values.get(key)
            if yours is not None and mine is None:
                self._deltas.append(edits.setting_delta(key, mine, yours))
            elif yours is not None and mine != yours:
                self._report.conflicts.append(Conflict("setting", "", 0, f"{key} {mine}", f"{key} {yours}"))


def _update(what: str, rows: Sequence[tuple[int, int, Rows, int, Rows, int]]) -> Delta:
    """One delta of all picks of which one group of columns is taken."""
    ids = np.array([number for number, *_ in rows], np.int64)
    on = np.array([ours for _, ours, *_ in rows], np.int64)
    before = {name: np.array([mine[name][a] for _, _, mine, a, _, _ in rows]) for name in _GROUPS[what]}
    after = {name: np.array([yours[name][b] for *_, yours, b in rows]) for name in _GROUPS[what]}
    return Delta(Table.PARTICLE, Kind.UPDATE, ids, before, after, on)


def _joined(parts: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _column(value: Any) -> NDArray[Any]:
    if isinstance(value, str):
        return np.array([str(value)])
    return np.array([np.nan if value is None else value], np.float64)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b or (a != a and b != b))


def _decision(rows: Rows, row: int) -> str:
    reason = Reason(int(rows["reason"][row]))
    because = f" as {reason.label}" if reason is not Reason.NONE else ""
    return f"{Decision(int(rows['decision'][row])).name.lower()}{because}"


def _said(what: str, rows: Rows, row: int) -> str:
    if what == "decision":
        return _decision(rows, row)
    return ", ".join(f"{float(rows[name][row]):g}" for name in _GROUPS[what])
