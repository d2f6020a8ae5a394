"""What two projects have in common and what each has done since: the side of a merge that reads histories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Change, Delta, Kind, Table
from ...model.pick_set import PickSet
from ...model.species import Species
from ...store.changes import HistoryEntry
from ...store.whole import Rows
from ..core import edits, species
from ..core.session import Session


@dataclass(eq=False)
class Past:
    """What one side has done since the two were one.

    Attributes
    ----------
    made : set of int
        Particles that the common history made.
    touched : mapping of particle to names of columns
    regions : set of int
        Regions that the common history made.
    imports : mapping of an import's identity to its particles (n,), in the order of the file
    lines : list of HistoryEntry
        Steps that are not common, oldest first.
    """

    made: set[int] = field(default_factory=set)
    touched: dict[int, set[str]] = field(default_factory=dict)
    regions: set[int] = field(default_factory=set)
    imports: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    lines: list[HistoryEntry] = field(default_factory=list)


def oldest_first(session: Session) -> list[HistoryEntry]:
    """The whole history, oldest first."""
    return session.history(2**31)[::-1]


def n_common(ours: Sequence[HistoryEntry], theirs: Sequence[HistoryEntry]) -> int:
    """How many lines two histories begin with that are the same."""
    n = 0
    for a, b in zip(ours, theirs, strict=False):
        if (a.id, a.at, a.curator, a.kind, a.verb, a.title) != (b.id, b.at, b.curator, b.kind, b.verb, b.title):
            break
        n += 1
    return n


def past_of(session: Session, lines: Sequence[HistoryEntry], common: int) -> Past:
    """What a side has done since ``common`` lines of history; a common step that it took back is something done."""
    past = Past(lines=list(lines[common:]))
    turned = {line.target for line in past.lines if line.kind in ("undo", "redo")}
    identities = {pick_set.id: str(pick_set.parameters.get("identity", "")) for pick_set in session.pick_sets.values()}
    for place, line in enumerate(lines):
        if line.kind != "do":
            continue
        is_common = place < common
        change = session.store.change(line.id)
        for delta in change.deltas:
            if is_common and delta.kind is Kind.INSERT and delta.table is Table.PARTICLE:
                past.made.update(delta.ids.tolist())
            if is_common and delta.kind is Kind.INSERT and delta.table is Table.REGION:
                past.regions.update(delta.ids.tolist())
            counts = line.id in turned if is_common else line.state == "applied"
            if counts and delta.table is Table.PARTICLE and delta.kind is not Kind.INSERT:
                names = set(delta.after) or {"deleted"}
                for number in delta.ids.tolist():
                    past.touched.setdefault(number, set()).update(names)
        if line.verb == "import" and line.state == "applied":
            _note_import(past, change, identities)
    return past


def _note_import(past: Past, change: Change, identities: Mapping[int, str]) -> None:
    sets = [delta for delta in change.deltas if delta.table is Table.PICK_SET and delta.kind is Kind.INSERT]
    picks = [delta for delta in change.deltas if delta.table is Table.PARTICLE and delta.kind is Kind.INSERT]
    if len(sets) == 1 and len(picks) == 1 and (identity := identities.get(int(sets[0].ids[0]), "")):
        past.imports[identity] = picks[0].ids


class TwinSpecies:
    """Species of the same name are the same on both sides; the others come to us."""

    def __init__(self, session: Session, other: Session) -> None:
        ours = {species.plain(one.name): one for one in session.species.values()}
        self._ours: dict[int, int] = {0: 0}
        #: The inserts of those that are new to us.
        self.new: list[Delta] = []
        #: What both sides say of one, and differently.
        self.different: list[tuple[str, str]] = []
        keys = {one.key for one in session.species.values()}
        for theirs in other.species.values():
            mine = ours.get(species.plain(theirs.name))
            if mine is None:
                number = -1 - len(self.new)
                kept = replace(theirs, key="" if theirs.key in keys else theirs.key)
                columns = species.columns_of(kept)
                self.new.append(Delta(Table.SPECIES, Kind.INSERT, np.array([number], np.int64), {}, columns))
            else:
                number = mine.id
                if mine.diameter_A != theirs.diameter_A:
                    self.different.append((_size_of(mine), _size_of(theirs)))
            self._ours[theirs.id] = number

    def in_ours(self, rows: Rows) -> Rows:
        """Rows of their picks with our numbers of species; negative ones are to come."""
        numbers = [self._ours.get(number, 0) for number in rows["species"].tolist()]
        return {**rows, "species": np.array(numbers, np.int32)}


def _size_of(one: Species) -> str:
    return f"{one.name}, {'as the project' if one.diameter_A is None else f'{one.diameter_A:g} Å'}"


class TwinSets:
    """Which pick sets, and which of their picks, are the same on both sides; the sets that are new to us."""

    def __init__(self, session: Session, other: Session, mine: Past, yours: Past, common: bool) -> None:
        self._session, self._other = session, other
        self._twins = {number: number for number in yours.made} if common else {}
        self._known: dict[int, int] = {}
        identities = {s.parameters["identity"]: s.id for s in session.pick_sets.values() if "identity" in s.parameters}
        for theirs in other.pick_sets.values():
            ours = session.pick_sets.get(theirs.id) if common else None
            if ours is not None and (ours.created, ours.name) == (theirs.created, theirs.name):
                self._known[theirs.id] = ours.id
            elif theirs.imported and theirs.parameters.get("identity") in identities:
                self._known[theirs.id] = identities[theirs.parameters["identity"]]
        for identity, numbers in yours.imports.items():
            here = mine.imports.get(identity)
            if here is not None and len(here) == len(numbers):
                self._twins.update(zip(numbers.tolist(), here.tolist(), strict=True))
        self._back = {ours: theirs for theirs, ours in self._twins.items()}
        #: Inserts of the sets that were asked for and are new.
        self.new: list[Delta] = []

    def twin(self, theirs: int) -> int | None:
        """Our id of their pick; None where it is new."""
        return self._twins.get(theirs)

    def reverse(self, ours: int) -> int | None:
        """Their id of our pick; None where they never had it."""
        return self._back.get(ours)

    def ours(self, theirs: int) -> int:
        """Our id of their pick set, negative for one that is to come."""
        if theirs not in self._known:
            pick_set = self._other.pick_sets[theirs]
            self._known[theirs] = self._hand_set(pick_set) or self._new(pick_set)
        return self._known[theirs]

    def _hand_set(self, pick_set: PickSet) -> int | None:
        if not pick_set.by_hand:
            return None
        same = [s.id for s in self._session.pick_sets.values() if s.by_hand and s.curator == pick_set.curator]
        return same[0] if same else None

    def _new(self, pick_set: PickSet) -> int:
        delta = edits.new_pick_set(
            pick_set.kind,
            pick_set.name,
            pick_set.curator,
            source=pick_set.source,
            frame=dict(pick_set.frame),
            parameters=dict(pick_set.parameters),
            created=pick_set.created,
        )
        number = -1 - len(self.new)
        self.new.append(replace(delta, ids=np.array([number], np.int64)))
        return number
