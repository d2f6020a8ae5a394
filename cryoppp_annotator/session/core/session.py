"""The application without a screen: one open project, one curator, one current micrograph, every verb.

A verb builds a :class:`Change` from the state in memory, the store commits it in one transaction, only then the
memory follows, and :attr:`Session.changed` announces it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from psygnal import Signal

from ...errors import AnnotatorError, Refused
from ...model.coordinates import FloatArray, angstrom_to_px
from ...model.curation import Change, Decision, Delta, Reason, Table
from ...model.micrograph import FINISHED_STATES, Micrograph, MicrographState
from ...model.particles import Particles, apply_delta
from ...model.pick_set import PickSet
from ...model.species import Species
from ...model.which import Which
from ...store.changes import HistoryEntry
from ...store.store import Committed, Connection, Store
from . import edits
from .backlog import Backlog
from .loaded_rows import LoadedRows, Tallies
from .settings import ProjectSettings, refuse_box, refuse_diameter, refuse_pixel_size
from .step import Editing, Outcome, Result, Step, retried, settle, take, waits
from .undo import Undo

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Announcement:
    """What just happened.

    Attributes
    ----------
    kind : str
        ``do``, ``undo``, ``redo``; ``refresh`` where another window wrote; ``note`` where the program itself noted
        what a micrograph's file says.
    change : Change or None
        None on refresh and note.
    message : str
        One line for the status bar.
    """

    kind: str
    change: Change | None
    message: str

    def touches(self, table: Table) -> bool:
        """Whether rows of ``table`` may have changed."""
        if self.change is None:
            return self.kind == "refresh" or table is Table.MICROGRAPH
        return any(d.table is table for d in self.change.deltas)


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
        self.loaded = LoadedRows(store)
        self._undo = Undo(self)

    # What is held in memory, under the names that are asked for everywhere.

    @property
    def settings(self) -> ProjectSettings:
        """What the project says of all its particles and micrographs."""
        return self.loaded.settings

    @property
    def micrographs(self) -> list[Micrograph]:
        """The project's micrographs, by id; not those that were removed."""
        return self.loaded.micrographs

    @property
    def removed(self) -> dict[int, Micrograph]:
        """Micrographs that were taken out of the project, by id."""
        return self.loaded.removed

    @property
    def pick_sets(self) -> dict[int, PickSet]:
        """Where picks came from, by id."""
        return self.loaded.pick_sets

    @property
    def species(self) -> dict[int, Species]:
        """Kinds of particle, by id."""
        return self.loaded.species

    def close(self) -> None:
        """Nothing needs saving, but what is still being written; give the database back."""
        settle(self)
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
        return self.loaded.micrograph(micrograph_id)

    def path_of(self, micrograph: Micrograph) -> Path:
        """Where its image lies."""
        return self.data_root / micrograph.path

    def pixel_size_A(self, micrograph: Micrograph) -> float:
        """Effective pixel size of a micrograph, angstrom per px, as the settings have it."""
        return self.settings.pixel_size_of(micrograph)

    @property
    def diameter_A(self) -> float:
        """The project's particle diameter, angstrom."""
        return self.settings.diameter_A

    def diameters_A(self, particles: Particles | None = None) -> FloatArray:
        """(n,) float64 diameter of every particle: its own, else its species', else the project's."""
        return self.loaded.diameters_A(self.particles if particles is None else particles)

    def diameters_px(self, micrograph: Micrograph, particles: Particles | None = None) -> FloatArray:
        """(n,) float64 diameter of every particle, px of the micrograph that they lie on."""
        return angstrom_to_px(self.diameters_A(particles), self.pixel_size_A(micrograph))

    def is_hand_set(self, pick_set: int) -> bool:
        """Whether picks of this set were made by hand here."""
        entry = self.pick_sets.get(pick_set)
        return entry is not None and entry.by_hand

    def counts(self) -> dict[str, int]:
        """Particles by decision over the project."""
        return self.loaded.counts()

    def n_finished(self) -> int:
        """Micrographs a person is done with."""
        return sum(m.state in FINISHED_STATES for m in self.micrographs)

    def history(self, limit: int = 500) -> list[HistoryEntry]:
        """History, newest first."""
        return self.store.history(limit)

    def next_undo(self) -> HistoryEntry | None:
        """What Ctrl+Z would take back."""
        return self._undo.next(redo=False)

    def next_redo(self) -> HistoryEntry | None:
        """What Ctrl+Shift+Z would repeat."""
        return self._undo.next(redo=True)

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
        if waits(self, lambda: self._visit(micrograph)):
            return
        try:
            self.retried(lambda: self.store.visit(micrograph.id, self.curator))
        except AnnotatorError as error:
            # Looking must go on when writing cannot; the next edit says it again.
            self.said.emit(str(error), "warning")
            return
        seen = self.micrograph(micrograph.id)
        if seen.state is MicrographState.UNSEEN:
            self.loaded.put([replace(seen, state=MicrographState.IN_PROGRESS, state_by=self.curator)])

    def refresh(self) -> None:
        """Read everything again (another window wrote)."""
        # First the number, then the data: what is written in between makes the next edit stale, not wrong. And only
        # once all of it was read: an edit built on half of it would be.
        newest = self.store.newest()
        self._read()
        self.store.head = newest
        self.announce("read again: the project was changed in another window")

    def poll(self) -> bool:
        """Refresh where another window wrote. Returns whether it had."""
        if (self.backlog is not None and self.backlog.busy) or not self.store.changed_elsewhere():
            return False
        self.refresh()
        return True

    # ------------------------------------------------------------------ verbs

    def add(self, x: float, y: float, *, anyway: bool = False) -> Outcome:
        """Add a hand pick (accepted) on the current micrograph.

        Parameters
        ----------
        x, y : float, canonical px
        anyway : bool
            Also closer than half a diameter to another pick that is not rejected.

        Returns
        -------
        Outcome
            Its ``new_id`` is that of the particle.

        Raises
        ------
        Refused
            It lies on another pick, the position is not a number, or the micrograph cannot be shown.
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
            return edits.add(micrograph, self.hand_set(), x, y, self.loaded.current_species)

        return self.edit(build)

    def _refuse_close(self, micrograph: Micrograph, x: float, y: float) -> None:
        nearest = edits.nearest(self._on(micrograph), x, y)
        limit = 0.5 * self.loaded.new_diameter_A / self.pixel_size_A(micrograph)
        if nearest < limit:
            why = f"not added: another pick is {nearest:.0f} px away, less than half a diameter"
            raise Refused(f"{why} ({{add-here}} or Alt+click adds it anyway)")

    def move(self, ids: ArrayLike, x: ArrayLike, y: ArrayLike) -> Outcome:
        """Move picks of the current micrograph to ``x, y`` (n,), canonical px."""
        micrograph, chosen = self._here(), np.atleast_1d(np.asarray(ids, np.int64))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise Refused("a pick needs a position")
        return self.edit(lambda: edits.move(micrograph, self._on(micrograph), chosen, x, y))

    def decide(
        self, ids: ArrayLike, decision: Decision, reason: Reason = Reason.NONE, *, in_bulk: bool = False
    ) -> Outcome:
        """Decide about picks of the current micrograph; ``in_bulk``: nobody looked at each (nothing learns from it)."""
        micrograph, chosen = self._here(), _ids(ids)

        def build() -> Change | None:
            picks = self._chosen(micrograph, chosen)
            if gone := len(chosen) - len(picks):  # new candidates came while the decision waited for its turn
                self.say(f"{edits.count_of(gone)} not decided: replaced by newer candidates", "warning")
            return edits.decide(picks, decision, reason, f"on {micrograph.name}", micrograph.id, in_bulk=in_bulk)

        return self.edit(build)

    def decide_where(
        self,
        which: Which,
        decision: Decision,
        reason: Reason = Reason.NONE,
        what: str = "",
        nothing: str = "nothing was left to change",
        *,
        in_bulk: bool = False,
    ) -> Outcome:
        """Decide about all the particles that are meant, over the whole project, as one step.

        Parameters
        ----------
        what : str, says in the title what was meant ("above score 1.82")
        nothing : str, said where it changed nothing
        in_bulk : bool, by a rule: nobody looked at each pick, and nothing learns from it
        """
        micrograph = which.one_micrograph
        where = "in the project" if micrograph is None else f"on {self.micrograph(micrograph).name}"

        def build(store: Store, connection: Connection) -> Change | None:
            picks = store.read(connection, which)
            return edits.decide(picks, decision, reason, f"{what} {where}".strip(), micrograph, in_bulk=in_bulk)

        micrographs = self.micrographs if which.micrographs is None else [self.micrograph(i) for i in which.micrographs]
        at_most = sum(m.n_of(d) for m in micrographs for d in which.decisions or Decision)
        title = " ".join(f"{edits.DOING[decision]} picks {what} {where}".split())
        return self.commit(Step(build, at_most, title, nothing))

    def commit(self, step: Step, then: Callable[[Result], object] = lambda result: None) -> Outcome:
        """Commit a step that reads the database; one about many picks is written in the background.

        ``then`` gets the result when it is over, now or later; also where it failed in the background.
        """
        return take(self, step, then)

    def edit(
        self, build: Callable[[], Change | None], then: Callable[[Result], object] = lambda result: None
    ) -> Outcome:
        """Commit an edit that ``build`` makes of what is in memory; it is queued where a big step is being written."""
        return Editing(self, build, then).begin()

    def when_free(self, edit: Callable[[], object]) -> None:
        """Do an edit now, or after the big step that is being written: for edits whose result is not needed at once."""
        if not waits(self, edit):
            edit()

    def remove(self, ids: ArrayLike) -> Outcome:
        """Delete hand picks of the current micrograph, reject the imported ones among them; one step."""
        micrograph, chosen = self._here(), _ids(ids)

        def build() -> Change | None:
            hand = [i for i in self.pick_sets if self.is_hand_set(i)]
            return edits.remove(micrograph, self._chosen(micrograph, chosen), hand)

        return self.edit(build)

    def set_state(self, micrograph_ids: Iterable[int], state: MicrographState, reason: str = "") -> None:
        """Mark micrographs complete, empty, unusable, or in progress again; a reason stands in the history."""
        ids = list(micrograph_ids)
        self.edit(lambda: edits.set_state([self.micrograph(i) for i in ids], state, self.curator, reason))

    def set_diameter(self, diameter_A: float) -> None:
        """Set the project's particle diameter, angstrom. Raises Refused unless 5 .. 10,000."""
        refuse_diameter(diameter_A)
        self.edit(lambda: self.settings.set_diameter(diameter_A))

    def set_pixel_size(self, value_A: float | None, micrograph_id: int | None = None) -> None:
        """Override the pixel size (None = as the header says) for one micrograph, or for the project."""
        refuse_pixel_size(value_A)
        if micrograph_id is None:
            self.edit(lambda: self.settings.set_pixel_size(value_A))
        else:
            self.edit(lambda: edits.set_pixel_size(self.micrograph(micrograph_id), value_A))

    def set_bright(self, bright: bool) -> None:
        """Say whether particles are brighter than their surroundings."""
        self.edit(lambda: self.settings.set_bright(bright))

    def set_whole_box_px(self, box_px: float) -> None:
        """Propose only picks whose box lies whole in the micrograph; 0 = up to the edge. Raises Refused."""
        refuse_box(box_px)
        self.edit(lambda: self.settings.set_whole_box_px(box_px))

    def set_frame(self, micrograph_id: int, frame: int) -> None:
        """Choose the image of a multi-frame file; -1 = the average."""
        n = self.micrograph(micrograph_id).n_frames
        if not -1 <= frame < n:
            raise Refused(f"the file has {n} images, there is no number {frame + 1}")
        self.edit(lambda: edits.set_frame(self.micrograph(micrograph_id), frame))

    def insert(self, change: Change) -> Result:
        """Commit a change built elsewhere as one step, after those that wait."""
        return self.insert_built(lambda: change)

    def insert_built(self, build: Callable[[], Change | None]) -> Result:
        """As :meth:`insert`; ``build`` is called again where another window wrote in between."""
        settle(self)
        return Editing(self, build, lambda result: None).now()

    def undo(self) -> str | None:
        """Take the last step back, wherever it was. Returns its title, None where there is nothing.

        A big one, or one that waits for a big one, goes on in the background; who goes on meanwhile stays there.

        Raises
        ------
        ConflictError
            Another person changed the same since: the step stays, and the next undo takes back the one before it.
        """
        return self._undo.revert(redo=False)

    def redo(self) -> str | None:
        """Repeat the last undone step."""
        return self._undo.revert(redo=True)

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
        particles = self._on(micrograph)
        rows = particles.rows_of(ids)
        return particles.take(np.sort(rows[rows >= 0]))

    def hand_set(self) -> int | Delta:
        """The pick set of what the curator picks by hand: its number, or the insert that makes it."""
        for number, pick_set in self.pick_sets.items():
            if pick_set.by_hand and pick_set.curator == self.curator:
                return number
        return edits.new_hand_set(self.curator)

    def retried(self, attempt: Callable[[], T]) -> T:
        """Repeat an edit after reading the project again, where another window has written meanwhile."""
        return retried(self, attempt)

    def absorb(self, committed: Committed, tallies: Tallies | None = None) -> None:
        """Let the memory follow what the store has confirmed, then announce it."""
        change = committed.change
        self.loaded.follow(change, tallies)
        for delta in change.deltas:
            if delta.table is Table.PARTICLE and self.current_id is not None:
                self.particles = apply_delta(self.particles, delta, self.current_id)
        self._forget_deleted()
        self.changed.emit(Announcement(committed.kind, change, _line_about(committed)))

    def read_again(self, message: str) -> None:
        """Read everything from the store, then announce it."""
        self._read()
        self.announce(message)

    def _read(self) -> None:
        self.loaded.read()
        self._forget_deleted()
        if self.current_id is not None:
            self.particles = self.store.particles(self.current_id)

    def announce(self, message: str, kind: str = "refresh") -> None:
        """Say that something other than a step has changed: anything (``refresh``), or micrographs only (``note``)."""
        self.changed.emit(Announcement(kind, None, message))

    def _forget_deleted(self) -> None:
        if self.current_id is not None and self.current_id not in self.loaded:
            self.current_id, self.particles = None, Particles.empty()


def _line_about(committed: Committed) -> str:
    """What the status bar says of a step, and how to take it back."""
    if committed.kind == "do":
        return f"{committed.change.done or committed.change.title} · {{undo}} undoes"
    if committed.kind == "undo":
        return f"undid: {committed.change.title} · {{redo}} redoes"
    return f"redid: {committed.change.title} · {{undo}} undoes"


def _ids(ids: ArrayLike) -> edits.Ids:
    return np.unique(np.atleast_1d(np.asarray(ids, dtype=np.int64)))
