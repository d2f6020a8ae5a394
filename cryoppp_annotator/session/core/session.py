"""The application without a screen: one open project, one curator, one current micrograph, every verb.

A verb builds a :class:`Change` from the state in memory, the store commits it in one transaction, only then the
memory follows, and :attr:`Session.changed` announces it once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from psygnal import Signal
from sqlalchemy import Connection

from ...errors import AnnotatorError, ConflictError, Refused
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.micrograph import FINISHED_STATES, Micrograph, MicrographState, pixel_size_doubt
from ...model.particles import Particles, apply_delta, tally
from ...store.changes import HistoryEntry
from ...store.store import Committed, Selector, StaleError, Store
from . import edits, memory
from .backlog import BIG, LATER, Backlog, Tallies

T = TypeVar("T")

#: What the project says of a micrograph, not its file.
_CURATED = (
    "own_pixel_size_A",
    "frame",
    "state",
    "state_by",
    "optics",
    "picture",
    "n_accepted",
    "n_undecided",
    "n_rejected",
)

#: Times a verb is built anew where another window keeps writing first.
_TRIES = 30

#: What a verb gets that waits for a big step.
_WAITS = Committed(LATER, Change("wait", "waits for a big step", ()), "wait")
#: Used for rings and filters until somebody says what the particle measures.
DEFAULT_DIAMETER_A = 150.0


@dataclass(frozen=True, eq=False)
class Announcement:
    """What just happened.

    Attributes
    ----------
    kind : str
        ``do``, ``undo``, ``redo``, or ``refresh`` where another window wrote.
    change : Change or None
        None on refresh.
    message : str
        One line for the status bar.
    """

    kind: str
    change: Change | None
    message: str

    def touches(self, table: Table) -> bool:
        """Whether rows of ``table`` may have changed."""
        return self.change is None or any(d.table is table for d in self.change.deltas)


class Session:
    """One open project.

    Parameters
    ----------
    store : Store
    curator : str
        Who decides; stands with every change.
    data_root : Path
        Where the micrographs' relative paths start.
    """

    changed = Signal(Announcement)
    current_changed = Signal()
    said = Signal(str, str)  # text, level: info, warning, error

    def __init__(self, store: Store, *, curator: str, data_root: Path) -> None:
        self.store = store
        self.curator = curator
        self.data_root = data_root
        self.current_id: int | None = None
        self.particles = Particles.empty()
        #: Where big steps are written while the window goes on; None = here, at once.
        self.backlog: Backlog | None = None
        self._stays: tuple[int, frozenset[int]] = (0, frozenset())
        self._load()

    def _load(self) -> None:
        self.settings = self.store.settings()
        self._sort(self.store.micrographs())
        self.pick_sets = {int(s["id"]): s for s in self.store.pick_sets()}
        if self.current_id is not None and self.current_id not in self._row and self.current_id not in self.removed:
            self.current_id, self.particles = None, Particles.empty()  # it was deleted
        if self.current_id is not None:
            self.particles = self.store.particles(self.current_id)

    def _sort(self, every: Iterable[Micrograph]) -> None:
        """Keep what was removed apart from what is there."""
        ordered = sorted(every, key=lambda m: m.id)
        self.micrographs = [m for m in ordered if m.state is not MicrographState.REMOVED]
        #: Micrographs that were taken out of the project and are kept until they are deleted for good, by id.
        self.removed = {m.id: m for m in ordered if m.state is MicrographState.REMOVED}
        self._row = {m.id: i for i, m in enumerate(self.micrographs)}

    def close(self) -> None:
        """Nothing needs saving, but what is still being written; give the database back."""
        self._settle()
        self.store.close()

    def say(self, text: str, level: str = "info") -> None:
        """Tell the curator something: ``info``, ``warning`` or ``error``."""
        self.said.emit(text, level)

    # ------------------------------------------------------------------ looking

    @property
    def current(self) -> Micrograph | None:
        """The micrograph on the screen."""
        return None if self.current_id is None else self.micrograph(self.current_id)

    def micrograph(self, micrograph_id: int) -> Micrograph:
        """A micrograph by id, a removed one, too. Raises KeyError."""
        row = self._row.get(micrograph_id)
        return self.removed[micrograph_id] if row is None else self.micrographs[row]

    def row_of(self, micrograph_id: int) -> int:
        """Place of a micrograph in :attr:`micrographs`."""
        return self._row[micrograph_id]

    def path_of(self, micrograph: Micrograph) -> Path:
        """Where its image lies."""
        return self.data_root / micrograph.path

    def pixel_size_A(self, micrograph: Micrograph) -> float:
        """Effective pixel size: the micrograph's override, the project's, the header's; 1.0 where nobody knows."""
        for value in (micrograph.own_pixel_size_A, self.settings.get("pixel_size_A"), micrograph.header_pixel_size_A):
            if value is not None and value > 0:
                return float(value)
        return 1.0

    def pixel_size_doubt(self, micrograph: Micrograph) -> str:
        """Why the pixel size should be questioned; empty where it is fine or was set by a person."""
        if micrograph.own_pixel_size_A or self.settings.get("pixel_size_A"):
            return ""
        return pixel_size_doubt(micrograph.header_pixel_size_A)

    @property
    def diameter_A(self) -> float:
        """The project's particle diameter, angstrom."""
        return float(self.settings.get("diameter_A") or DEFAULT_DIAMETER_A)

    @property
    def diameter_is_set(self) -> bool:
        """Whether a person or an imported file said the diameter."""
        return bool(self.settings.get("diameter_A"))

    def diameters_A(self, particles: Particles | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(n,) float64 diameter of every particle, the project's where it has none of its own."""
        own = (self.particles if particles is None else particles).diameter_A
        return np.where(np.isnan(own), self.diameter_A, own)

    def is_hand_set(self, pick_set: int) -> bool:
        """Whether picks of this set were made by hand here."""
        found = self.pick_sets.get(pick_set)
        return found is not None and found["kind"] == "hand"

    def counts(self) -> dict[str, int]:
        """Particles by decision over the project."""
        return {
            "accepted": sum(m.n_accepted for m in self.micrographs),
            "undecided": sum(m.n_undecided for m in self.micrographs),
            "rejected": sum(m.n_rejected for m in self.micrographs),
        }

    def n_finished(self) -> int:
        """Micrographs a person is done with."""
        return sum(m.state in FINISHED_STATES for m in self.micrographs)

    def history(self, limit: int = 500) -> list[HistoryEntry]:
        """History, newest first."""
        return self.store.history(limit)

    def next_undo(self) -> HistoryEntry | None:
        """What Ctrl+Z would take back."""
        return self.store.next_undo(self.curator, self._staying())

    def next_redo(self) -> HistoryEntry | None:
        """What Ctrl+Shift+Z would repeat."""
        return self.store.next_redo(self.curator)

    # ------------------------------------------------------------------ moving about

    def go(self, micrograph_id: int) -> None:
        """Show a micrograph; an unseen one becomes *in progress*."""
        self.poll()
        micrograph = self.micrograph(micrograph_id)
        particles = self.store.particles(micrograph_id)
        self.current_id, self.particles = micrograph_id, particles
        if micrograph.state is MicrographState.UNSEEN and not micrograph.problem:
            self._visit(micrograph)
        self.current_changed.emit()

    def _visit(self, micrograph: Micrograph) -> None:
        if self._waits(lambda: self._visit(micrograph)):
            return
        try:
            self.retried(lambda: self.store.visit(micrograph.id, self.curator))
        except AnnotatorError as error:
            # Looking must go on when writing cannot; the next edit says it again.
            self.said.emit(str(error), "warning")
            return
        seen = self.micrograph(micrograph.id)
        if seen.state is MicrographState.UNSEEN:
            self._put([replace(seen, state=MicrographState.IN_PROGRESS, state_by=self.curator)])

    def refresh(self) -> None:
        """Read everything again (another window wrote)."""
        # First the number, then the data: what is written in between makes the next edit stale, not wrong. And only
        # once all of it was read: an edit built on half of it would be.
        newest = self.store.newest()
        self._load()
        self.store.head = newest
        self.changed.emit(Announcement("refresh", None, "read again: the project was changed in another window"))

    def poll(self) -> bool:
        """Refresh where another window wrote. Returns whether it had."""
        if (self.backlog is not None and self.backlog.busy) or not self.store.changed_elsewhere():
            return False
        self.refresh()
        return True

    # ------------------------------------------------------------------ verbs

    def add(self, x: float, y: float, *, anyway: bool = False) -> int:
        """Add a hand pick (accepted) on the current micrograph.

        Parameters
        ----------
        x, y : float, canonical px
        anyway : bool
            Also closer than half a diameter to another pick that is not rejected.

        Returns
        -------
        int
            The id of the new particle; LATER where it waits for a big step.

        Raises
        ------
        Refused
            It lies on another pick, the position is not a number, or nobody sees the micrograph.
        """
        micrograph = self._here()
        if micrograph.changed:
            raise Refused(f"{micrograph.name} has {micrograph.problem}; say first what becomes of its picks")
        if micrograph.problem:
            raise Refused(f"{micrograph.name} cannot be shown: a pick would lie on nothing")
        if not (np.isfinite(x) and np.isfinite(y)):
            raise Refused("a pick needs a position")

        def build() -> Change:
            if not anyway:
                self._refuse_close(micrograph, x, y)
            return edits.add(micrograph, self._hand_set(), x, y)

        committed = self._do(build)
        if committed is None:
            raise Refused("nothing was added")
        return LATER if committed is _WAITS else int(committed.change.deltas[-1].ids[0])

    def _refuse_close(self, micrograph: Micrograph, x: float, y: float) -> None:
        nearest = edits.nearest(self._on(micrograph), x, y)
        limit = 0.5 * self.diameter_A / self.pixel_size_A(micrograph)
        if nearest < limit:
            raise Refused(
                f"not added: another pick is {nearest:.0f} px away, less than half a diameter "
                "(Alt+click adds it all the same)"
            )

    def move(self, ids: ArrayLike, x: ArrayLike, y: ArrayLike) -> None:
        """Move picks of the current micrograph to ``x, y`` (n,), canonical px."""
        micrograph, wanted = self._here(), np.atleast_1d(np.asarray(ids, np.int64))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise Refused("a pick needs a position")
        self._do(lambda: edits.move(micrograph, self._on(micrograph), wanted, x, y))

    def decide(self, ids: ArrayLike, decision: Decision, reason: Reason = Reason.NONE) -> int:
        """Decide about picks of the current micrograph. Returns how many changed, LATER where they wait."""
        micrograph, wanted = self._here(), _ids(ids)

        def build() -> Change | None:
            chosen = self._chosen(micrograph, wanted)
            if gone := len(wanted) - len(chosen):  # new candidates came while the decision waited for its turn
                self.say(f"{edits.count_of(gone)} made room meanwhile: nothing was decided about them", "warning")
            return edits.decide(chosen, decision, reason, f"on {micrograph.name}", micrograph.id)

        return _rows_of(self._do(build))

    def decide_where(self, selector: Selector, decision: Decision, reason: Reason = Reason.NONE, what: str = "") -> int:
        """Decide about everything a selector means, over the whole project, as one step.

        Parameters
        ----------
        what : str
            Says in the title what was meant ("above score 1.82").
        """
        one = selector.micrograph
        where = "in the project" if one is None else f"on {self.micrograph(one).name}"

        def build(store: Store, connection: Connection) -> Change | None:
            found = store._particles(connection, selector.where())
            return edits.decide(found, decision, reason, f"{what} {where}".strip(), one)

        there = self.micrographs if one is None else [self.micrograph(one)]
        at_most = sum(m.n_of(d) for m in there for d in selector.decisions or Decision)
        doing = " ".join(f"{edits.DOING[decision]} picks {what} {where}".split())
        return self.commit_over(build, at_most=at_most, doing=doing)

    def commit_over(
        self,
        build: Callable[[Store, Connection], Change | None],
        *,
        at_most: int | None = None,
        doing: str = "changing picks",
        nothing: str = "nothing was left to change",
        then: Callable[[Committed | None], object] = lambda committed: None,
    ) -> int:
        """Commit what ``build`` makes of rows that it reads in the same transaction.

        Parameters
        ----------
        at_most : int, optional
            Picks it can be about; None = nobody knows. Many are written in the background, ``build`` called there.
        doing, nothing : str
            Said while that goes on, and where it changed nothing.
        then : callable, optional
            Gets what was committed, now or later; None where nothing was (failed in the background, too).

        Returns
        -------
        int
            How many picks changed; LATER where it goes on in the background or waits.
        """
        backlog = self.backlog

        def over(committed: Committed | None, tallies: Tallies | None = None) -> int:
            changed = committed if committed is not None and committed.id else None
            if changed is not None:
                self._absorb(changed, tallies)
            elif tallies is not None:
                self.say(nothing)
            then(changed)
            return _rows_of(changed)

        def begin() -> int:
            if backlog is None or (at_most is not None and at_most <= BIG):
                return over(self.retried(lambda: self.store.commit_built(build, self.curator)))
            backlog.write(
                lambda context: self.store.commit_built(build, self.curator, context.check),
                doing,
                over,
                lost=lambda: then(None),
            )
            return LATER

        def after_all() -> None:
            if begin() == 0:
                self.say(nothing)

        return LATER if self._waits(after_all) else begin()

    def when_free(self, step: Callable[[], object]) -> None:
        """Do an edit now, or after the big step that is being written: for edits whose result nobody waits for."""
        if not self._waits(step):
            step()

    def _waits(self, step: Callable[[], object]) -> bool:
        return self.backlog is not None and self.backlog.waits(step)

    def _settle(self) -> None:
        if self.backlog is not None:
            self.backlog.finish()

    def remove(self, ids: ArrayLike) -> int:
        """Delete hand picks of the current micrograph, reject the imported ones among them; one step."""
        micrograph, wanted = self._here(), _ids(ids)

        def build() -> Change | None:
            chosen = self._chosen(micrograph, wanted)
            hand = [i for i in self.pick_sets if self.is_hand_set(i)]
            return edits.remove(micrograph, chosen, hand)

        return _rows_of(self._do(build))

    def set_state(self, micrograph_ids: Iterable[int], state: MicrographState) -> None:
        """Mark micrographs complete, empty, unusable, or in progress again."""
        wanted = list(micrograph_ids)
        self._do(lambda: edits.set_state([self.micrograph(i) for i in wanted], state, self.curator))

    def set_diameter(self, diameter_A: float) -> None:
        """Set the project's particle diameter, angstrom. Raises Refused unless 5 .. 10,000."""
        if not 5 <= diameter_A <= 10_000:
            raise Refused(f"a particle diameter of {diameter_A:g} A makes no sense (5 to 10,000 A)")
        value = float(diameter_A)
        title = f"particle diameter {value:.4g} A"
        self._do(lambda: edits.set_setting("diameter_A", self.settings.get("diameter_A"), value, title))

    def set_pixel_size(self, value_A: float | None, micrograph_id: int | None = None) -> None:
        """Override the pixel size (None = as the header says) for one micrograph, or for the project."""
        if value_A is not None and not 0.01 <= value_A <= 100:
            raise Refused(f"a pixel size of {value_A:g} A/px makes no sense (0.01 to 100)")
        if micrograph_id is not None:
            self._do(lambda: edits.set_pixel_size(self.micrograph(micrograph_id), value_A))
            return
        title = f"pixel size of the project: {'as each header says' if value_A is None else f'{value_A:g} A/px'}"
        self._do(lambda: edits.set_setting("pixel_size_A", self.settings.get("pixel_size_A"), value_A, title))

    def set_frame(self, micrograph_id: int, frame: int) -> None:
        """Choose the image of a multi-frame file; -1 = the average."""
        n = self.micrograph(micrograph_id).n_frames
        if not -1 <= frame < n:
            raise Refused(f"the file has {n} images, there is no number {frame + 1}")
        self._do(lambda: edits.set_frame(self.micrograph(micrograph_id), frame))

    def add_micrographs(self, found: Iterable[Micrograph]) -> int:
        """Register micrographs; those already known by path are left alone. Returns how many are new."""
        wanted = list(found)
        added = self.retried(lambda: self.store.add_micrographs(wanted, self.curator))
        if added:
            self._load()
            self.changed.emit(Announcement("refresh", None, f"added {edits.count_of(added, 'micrograph')}"))
        return added

    def update_micrograph(self, micrograph: Micrograph) -> None:
        """Store what the file says now (size, header, problem); not a step to undo."""
        self.retried(lambda: self.store.refresh_micrograph(micrograph, self.curator))
        # The counts and the state may have changed since the file was looked at.
        now = self.micrograph(micrograph.id)
        self._put([replace(micrograph, **{name: getattr(now, name) for name in _CURATED})])
        self.changed.emit(Announcement("refresh", None, f"{micrograph.name}: {micrograph.problem or 'read again'}"))

    def remember(self, key: str, value: Any) -> None:
        """Store a setting that is bookkeeping, no step to undo."""
        self.retried(lambda: self.store.set_setting(key, value, self.curator))
        self.settings[key] = value

    def move_data_root(self, root: Path) -> None:
        """Say where the micrographs are now."""
        self.remember("data_root", str(root))
        self.data_root = root
        self._load()
        self.changed.emit(Announcement("refresh", None, f"micrographs are now read from {root}"))

    def insert(self, change: Change) -> Committed | None:
        """Commit a change built elsewhere (an import) as one step."""
        return self.insert_built(lambda: change)

    def insert_built(self, build: Callable[[], Change | None]) -> Committed | None:
        """As :meth:`insert`; ``build`` is called again where another window wrote in between."""
        self._settle()
        return self._do(build)

    def undo(self) -> str | None:
        """Take the last step back, wherever it was. Returns its title, None where there is nothing.

        A big one, or one that waits for a big one, goes on in the background; who goes on meanwhile stays there.

        Raises
        ------
        ConflictError
            Somebody else changed the same since: the step stays, and the next undo takes back the one before it.
        """
        return self._revert(redo=False)

    def redo(self) -> str | None:
        """Repeat the last undone step."""
        return self._revert(redo=True)

    def _revert(self, *, redo: bool) -> str | None:
        if self._waits(lambda: self._revert(redo=redo)):
            return "a step"
        passed: frozenset[int] = frozenset()
        here = self.current_id
        if self._stays[1]:
            self.poll()  # what stood in the way may be gone

        def attempt(check: Callable[[], None] = lambda: None) -> Committed | None:
            nonlocal passed
            passed = frozenset() if redo else self._staying()
            return self.store.revert(self.curator, redo=redo, passed=passed, check=check)

        def refused(error: AnnotatorError) -> AnnotatorError:
            if redo or not isinstance(error, ConflictError) or not error.step:
                return error
            self._stays = (self.store.head, passed | {error.step})
            return ConflictError(f"{error}; undo again takes back the step before it", error.step)

        def done(committed: Committed | None, tallies: Tallies | None = None) -> str | None:
            if committed is None:
                return None
            self._absorb(committed, tallies)
            elsewhere = committed.change.micrograph
            if elsewhere is not None and here is not None and here == self.current_id != elsewhere:
                self.go(elsewhere)
            self._stays = (self.store.head, passed)
            return committed.change.title

        if self.backlog is not None:
            entry = self.next_redo() if redo else self.next_undo()
            if entry is not None and (entry.n_particles > BIG or entry.many_regions):
                self.backlog.write(
                    lambda context: attempt(context.check),
                    f"{'redoing' if redo else 'undoing'}: {entry.title}",
                    lambda committed, tallies: (done(committed, tallies), None)[1],
                    lambda error: self.say(str(refused(error)), "error"),
                )
                return entry.title
        try:
            return done(self.retried(attempt))
        except ConflictError as conflict:
            raise refused(conflict) from None

    def _staying(self) -> frozenset[int]:
        """Steps that undo has been refused for and passes over, until somebody edits something."""
        return self._stays[1] if self._stays[0] == self.store.head else frozenset()

    # ------------------------------------------------------------------ inside

    def _here(self) -> Micrograph:
        current = self.current
        if current is None:
            raise Refused("open a micrograph first")
        return current

    def _on(self, micrograph: Micrograph) -> Particles:
        """Its particles; another may be on the screen by the time a step that waited is built."""
        return self.particles if micrograph.id == self.current_id else self.store.particles(micrograph.id)

    def _chosen(self, micrograph: Micrograph, ids: edits.Ids) -> Particles:
        there = self._on(micrograph)
        rows = there.rows_of(ids)
        return there.take(np.sort(rows[rows >= 0]))

    def _hand_set(self) -> int | Delta:
        for number, found in self.pick_sets.items():
            if found["kind"] == "hand" and found["curator"] == self.curator:
                return number
        return edits.new_hand_set(self.curator)

    def _do(self, build: Callable[[], Change | None]) -> Committed | None:
        if self._waits(lambda: self._do(build)):
            return _WAITS

        def attempt() -> Committed | None:
            try:
                change = build()
            except Refused:
                if not self.poll():
                    raise
                change = build()
            if change is None and self.poll():
                # what makes no difference here may make one to what another window left
                change = build()
            return None if change is None else self.store.commit(change, self.curator)

        committed = self.retried(attempt)
        if committed is not None:
            self._absorb(committed)
        return committed

    def retried(self, attempt: Callable[[], T]) -> T:
        """Try something anew, after reading everything again, where another window has written meanwhile."""
        self._settle()
        for _ in range(_TRIES):
            try:
                return attempt()
            except StaleError:
                self.refresh()
        return attempt()

    def _absorb(self, committed: Committed, tallies: Tallies | None = None) -> None:
        """Let the memory follow what the store has confirmed, then announce it."""
        if any(d.table is Table.MICROGRAPH and d.kind is not Kind.UPDATE for d in committed.change.deltas):
            self._load()  # micrographs have come or gone
        else:
            self._follow(committed.change, tallies)
        title = committed.change.title
        said = {"do": edits.past(title), "undo": f"undid: {title}", "redo": f"redid: {title}"}[committed.kind]
        hint = "Ctrl+Z undoes" if committed.kind != "undo" else "Ctrl+Shift+Z redoes"
        message = f"{said} · {hint}"
        self.changed.emit(Announcement(committed.kind, committed.change, message))

    def _follow(self, change: Change, tallies: Tallies | None) -> None:
        mine = [delta for delta in change.deltas if delta.table is Table.PARTICLE]
        for delta, (touched, steps) in zip(mine, tallies or map(tally, mine), strict=True):
            if self.current_id is not None:
                self.particles = apply_delta(self.particles, delta, self.current_id)
            self._put(memory.recounted(self.micrograph, touched, steps))
        for delta in change.deltas:
            if delta.table is Table.MICROGRAPH:
                self._put(memory.micrographs_after(self.micrograph, delta))
            elif delta.table is Table.SETTING:
                for key, value in zip(delta.after["key"], delta.after["value"], strict=True):
                    self.settings[str(key)] = json.loads(str(value))
            elif delta.table is Table.PICK_SET:
                memory.follow_pick_sets(self.pick_sets, delta)

    def replace_micrographs(self, micrographs: Iterable[Micrograph]) -> None:
        """Let the memory follow what was stored of some micrographs; what curators say of them stays."""
        for micrograph in micrographs:
            now = self.micrograph(micrograph.id)
            kept = {name: getattr(now, name) for name in _CURATED if name != "frame"}
            self._put([replace(micrograph, **kept)])

    def _put(self, micrographs: Iterable[Micrograph]) -> None:
        """Replace what is in memory of some micrographs."""
        moved = {}
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


def _rows_of(committed: Committed | None) -> int:
    """Picks that changed; LATER where the step waits."""
    return 0 if committed is None else LATER if committed is _WAITS else committed.change.n_rows()


def _ids(ids: ArrayLike) -> edits.Ids:
    return np.unique(np.atleast_1d(np.asarray(ids, dtype=np.int64)))
