"""The project database as the session uses it: rows in, rows out, one committed transaction per change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection as Connection
from sqlalchemy import and_, insert, select, update

from ..errors import ConflictError, ProjectError, Refused, disk_reason
from ..model.curation import Change, pack
from ..model.micrograph import Micrograph, MicrographState
from ..model.particles import Particles
from ..model.pick_set import PickSet
from ..model.region import Region
from ..model.species import Species
from ..model.which import Which
from . import changes, connecting, regions, schema
from . import which as which_table
from .bulk import BulkDecided, BulkHistory
from .changes import HistoryEntry
from .connecting import DATABASE_NAME as DATABASE_NAME
from .delta_rules import problem_in

T = TypeVar("T")


class StaleError(ProjectError):
    """Another window changed the project since this one last looked; look again and repeat."""


@dataclass(frozen=True, slots=True)
class Committed:
    """A change as it was stored: real ids, its place in the history."""

    id: int
    change: Change
    kind: str


class Store:
    """One open project database.

    Every write goes through :meth:`commit`, :meth:`revert` or :meth:`visit`, each one transaction that first checks
    that no other process wrote since ``head``.
    """

    def __init__(self, folder: Path, *, read_only: bool = False, create: bool = False) -> None:
        self.folder = folder
        self.read_only = read_only
        #: Threads of this process queue here; the database refuses who has waited for some seconds.
        self._one_writer = threading.RLock()
        self._held: tuple[int, Connection] | None = None  # the thread that is alone, and its transaction
        self._bulk = BulkHistory()
        self._database = connecting.connect(folder, read_only=read_only, create=create)
        #: The file that stands for the project.
        self.path = self._database.path
        #: Where the rows are, as a sentence names it after "kept in".
        self.place = self._database.place
        self._engine = self._database.engine
        try:
            self._database.prepare()
            self.head = self.newest()
            #: ``wal``, or ``delete`` where the disk cannot have that (:mod:`.journal`); ``postgresql``.
            self.journal = self._database.journal
        except BaseException:
            self._engine.dispose()
            raise

    @classmethod
    def create(cls, folder: Path) -> Store:
        """Make the folder and an empty database in it. Raises ProjectError where one exists or cannot be made."""
        fresh = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ProjectError(f"cannot make the project folder {folder}: {disk_reason(error)}") from error
        if connecting.exists(folder):
            raise ProjectError(f"there is already a project in {folder}")
        try:
            return cls(folder, create=True)
        except BaseException:
            connecting.take_away(folder, folder_too=fresh)
            raise

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Store:
        """Open an existing project. Raises ProjectError where there is none."""
        connecting.refuse_missing(folder)
        return cls(folder, read_only=read_only)

    def close(self) -> None:
        """Give the file, or the server's connections, back."""
        self._engine.dispose()

    # ------------------------------------------------------------------ reading

    def changed_elsewhere(self) -> bool:
        """Whether another window wrote since this one last looked."""
        return self.newest() != self.head

    def newest(self) -> int:
        """The number of the newest change, whichever process made it; see :attr:`head`."""
        with self.reading() as connection:
            return changes.head(connection)

    def settings(self) -> dict[str, Any]:
        """Project settings, decoded."""
        with self.reading() as connection:
            pairs = connection.execute(select(schema.setting.c.key, schema.setting.c.value)).all()
        return {key: json.loads(value) for key, value in pairs}

    def micrographs(self) -> list[Micrograph]:
        """All micrographs, ordered by id."""
        names = [f.name for f in fields(Micrograph)]
        query = select(*(schema.micrograph.c[name] for name in names)).order_by(schema.micrograph.c.id)
        with self.reading() as connection:
            every = connection.execute(query).all()
        states = {state.value: state for state in MicrographState}
        at = names.index("state")
        make: Any = Micrograph
        return [make(*row[:at], states[row[at]], *row[at + 1 :]) for row in every]

    def particles(self, micrograph: int) -> Particles:
        """The particles of one micrograph, ordered by id."""
        return self.particles_where(Which(micrographs=(micrograph,), removed=True))

    def particles_where(self, which: Which) -> Particles:
        """The particles that are meant, ordered by id."""
        with self.reading() as connection:
            return self.read(connection, which)

    #: The same inside a transaction: ``store.read(connection, which)``.
    read = staticmethod(which_table.read)

    def extra(self, *micrographs: int) -> dict[int, dict[str, str]]:
        """Uninterpreted imported columns of some micrographs' particles, by particle id."""
        p = schema.particle.c
        query = select(p.id, p.extra).where(p.micrograph.in_(micrographs), p.extra.is_not(None))
        with self.reading() as connection:
            return {i: json.loads(text) for i, text in connection.execute(query)}

    def pick_sets(self) -> list[PickSet]:
        """Pick sets, ordered by id."""
        with self.reading() as connection:
            every = connection.execute(select(schema.pick_set).order_by(schema.pick_set.c.id)).mappings().all()
        return [PickSet.from_row(dict(row)) for row in every]

    def species(self) -> list[Species]:
        """Kinds of particle, ordered by id."""
        with self.reading() as connection:
            every = connection.execute(select(schema.species).order_by(schema.species.c.id)).mappings().all()
        return [Species.from_row(dict(row)) for row in every]

    def regions(self, micrograph: int | None = None) -> list[Region]:
        """Regions of one micrograph, or of the project, also those a person dismissed; ordered by id."""
        with self.reading() as connection:
            return regions.read(connection, micrograph)

    def micrographs_with_regions(self) -> list[int]:
        """Ids of the micrographs that have a region which counts, in order."""
        with self.reading() as connection:
            return regions.micrographs_with(connection)

    def count(self, which: Which) -> int:
        """How many particles are meant."""
        return self.counts(which)[0]

    def counts(self, *whiches: Which) -> tuple[int, ...]:
        """How many particles each of several questions means, in one pass."""
        with self.reading() as connection:
            return which_table.count(connection, whiches)

    def count_by_micrograph(self, which: Which) -> dict[int, int]:
        """How many are meant on each micrograph (by id) that has some."""
        with self.reading() as connection:
            return which_table.count_by_micrograph(connection, which)

    def count_by_class(self, which: Which) -> dict[int, tuple[int, int]]:
        """How many are meant in each class of ``which.classes``: with those that are hidden, and without."""
        with self.reading() as connection:
            return which_table.count_by_class(connection, which)

    def positions(self, which: Which) -> dict[str, NDArray[Any]]:
        """Where the particles that are meant lie: columns ``id, micrograph, x, y, diameter_A``, by micrograph."""
        with self.reading() as connection:
            return which_table.positions(connection, which)

    def sample_scores(self, which: Which, limit: int = 20_000) -> NDArray[np.float64]:
        """Scores of the project (n,) float64, about ``limit`` at most, evenly taken; no NaN."""
        with self.reading() as connection:
            return which_table.sample_scores(connection, which, limit)

    def history(self, limit: int = 500, *, before: int | None = None) -> list[HistoryEntry]:
        """The latest history lines, newest first."""
        names = [f.name for f in fields(HistoryEntry)]
        query = select(*(schema.change.c[n] for n in names)).order_by(schema.change.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(schema.change.c.id < before)
        with self.reading() as connection:
            return [HistoryEntry(*row) for row in connection.execute(query)]

    def decided_in_bulk(self) -> BulkDecided:
        """Picks whose present decision was made by a rule, not by a look at each."""
        with self.reading() as connection:
            return self._bulk.up_to(connection, self.head)

    def change(self, change_id: int) -> Change:
        """A stored change with its rows."""
        with self.reading() as connection:
            return changes.load(connection, change_id)

    def next_undo(self, curator: str, passed: Collection[int] = ()) -> HistoryEntry | None:
        """The step Ctrl+Z would take back: the curator's last applied one that is not ``passed`` over."""
        return self._next(curator, "applied", schema.change.c.id.desc(), passed)

    def next_redo(self, curator: str) -> HistoryEntry | None:
        """The step Ctrl+Shift+Z would repeat: the curator's earliest undone one."""
        return self._next(curator, "undone", schema.change.c.id.asc())

    def _next(self, curator: str, state: str, order: Any, passed: Collection[int] = ()) -> HistoryEntry | None:
        names = [f.name for f in fields(HistoryEntry)]
        c = schema.change.c
        query = select(*(c[n] for n in names)).where(
            c.curator == curator, c.state == state, c.kind == "do", c.id.not_in(passed)
        )
        with self.reading() as connection:
            row = connection.execute(query.order_by(order).limit(1)).first()
        return None if row is None else HistoryEntry(*row)

    # ------------------------------------------------------------------ writing

    def commit(self, change: Change, curator: str) -> Committed:
        """Apply a change and store it with its inverse, in one transaction.

        Raises
        ------
        StaleError
            Another window wrote since; nothing was changed.
        ProjectError
            The database refused (full, locked, vanished, read-only); nothing was changed.
        Refused
            A row breaks the rules of its table; nothing was changed.
        """
        return self.commit_built(lambda _store, _connection: change, curator)

    def commit_built(
        self,
        build: Callable[[Store, Connection], Change | None],
        curator: str,
        check: Callable[[], None] = lambda: None,
    ) -> Committed:
        """As :meth:`commit`, with the change built inside the transaction (bulk verbs read and write at once).

        ``build`` may return None, which commits nothing and returns an empty change with id 0. ``check`` is called
        between pieces of a large one: what it raises takes everything back.
        """
        with self._transaction() as connection:
            change = build(self, connection)
            check()
            if change is None:
                return Committed(0, Change("nothing", "nothing to do", ()), "do")
            change = changes.with_ids(connection, change)
            if problem := problem_in(change.deltas):
                raise Refused(f"{change.title[:200]}: this cannot be kept: {problem}")
            if not changes.apply(connection, change, check):
                raise StaleError("the project is not what this window shows; it is read again")
            c = schema.change
            connection.execute(update(c).where(c.c.curator == curator, c.c.state == "undone").values(state="abandoned"))
            number = changes.record(
                connection, change, curator, kind="do", state="applied", payload=pack(change.deltas)
            )
        self.head = number
        return Committed(number, change, "do")

    def revert(
        self,
        curator: str,
        *,
        redo: bool = False,
        passed: Collection[int] = (),
        check: Callable[[], None] = lambda: None,
    ) -> Committed | None:
        """Undo the curator's last step, or redo the last undone one; None where there is none.

        Parameters
        ----------
        passed : collection of int
            Steps that stay as they are: undo takes back the one before them, where it has no rows in common.
        check : callable
            Called between pieces of a large step; what it raises leaves everything as it is.

        Raises
        ------
        ConflictError
            Somebody else changed the same rows since; nothing was changed. Its ``step`` is the one that stays.
        """
        entry = self.next_redo(curator) if redo else self.next_undo(curator, passed)
        if entry is None:
            return None
        with self._transaction() as connection:
            change = changes.load(connection, entry.id)
            if not redo:
                change = change.inverse()
            changes.refuse_conflict(connection, entry, change, curator, passed)
            if not changes.apply(connection, change, check):
                raise ConflictError(f"the data were changed since; “{entry.title}” stays as it is", entry.id)
            c = schema.change
            connection.execute(update(c).where(c.c.id == entry.id).values(state="applied" if redo else "undone"))
            kind = "redo" if redo else "undo"
            number = changes.record(connection, change, curator, kind=kind, state="", target=entry.id)
        self.head = number
        return Committed(number, change, kind)

    def visit(self, micrograph: int, curator: str) -> None:
        """Note that an unseen micrograph was looked at. Attributed, but not a step to undo."""
        with self._transaction() as connection:
            m = schema.micrograph
            unseen = and_(m.c.id == micrograph, m.c.state == MicrographState.UNSEEN.value)
            values = {"state": MicrographState.IN_PROGRESS.value, "state_by": curator}
            if connection.execute(update(m).where(unseen).values(**values)).rowcount == 0:
                return
            visited = Change("visit", "looked at", (), micrograph)
            number = changes.record(connection, visited, curator, kind="visit", state="")
        self.head = number

    def add_micrographs(self, new: Iterable[Micrograph], curator: str) -> int:
        """Register micrographs (their ids are ignored); those whose path is known already are left alone."""
        names = [f.name for f in fields(Micrograph) if f.name not in ("id", "n_accepted", "n_undecided", "n_rejected")]
        with self._transaction() as connection:
            known = set(connection.execute(select(schema.micrograph.c.path)).scalars())
            fresh = [m for m in new if m.path not in known]
            if not fresh:
                return 0
            first = changes.reserve(connection, "micrograph", len(fresh))
            values = [{"id": first + i, **{n: getattr(m, n) for n in names}} for i, m in enumerate(fresh)]
            connection.execute(insert(schema.micrograph), [{**v, "state": str(v["state"])} for v in values])
            title = f"add {len(fresh):,} micrographs"
            number = changes.record(connection, Change("add-micrographs", title, ()), curator, kind="visit", state="")
        self.head = number
        return len(fresh)

    def refresh_micrograph(self, micrograph: Micrograph, curator: str) -> None:
        """Store what the file says now (size, header, problem); not a step to undo."""
        names = ("path", "width", "height", "header_pixel_size_A", "n_frames", "fingerprint", "problem")
        with self._transaction() as connection:
            values = {n: getattr(micrograph, n) for n in names}
            m = schema.micrograph
            connection.execute(update(m).where(m.c.id == micrograph.id).values(**values))
            note = Change("re-read", f"re-read {micrograph.name}", (), micrograph.id)
            number = changes.record(connection, note, curator, kind="visit", state="")
        self.head = number

    def refresh_micrographs(
        self, micrographs: Sequence[Micrograph], title: str, curator: str, settings: Mapping[str, Any] | None = None
    ) -> None:
        """Store what some files say now, and settings with it, in one transaction; not a step to undo."""
        names = ("path", "width", "height", "header_pixel_size_A", "n_frames", "frame", "fingerprint", "problem")
        with self._transaction() as connection:
            m = schema.micrograph
            for micrograph in micrographs:
                values = {n: getattr(micrograph, n) for n in names}
                connection.execute(update(m).where(m.c.id == micrograph.id).values(**values))
            for key, value in (settings or {}).items():
                changes.put_setting(connection, key, json.dumps(value))
            number = changes.record(connection, Change("re-read", title, ()), curator, kind="visit", state="")
        self.head = number

    def set_setting(self, key: str, value: Any, curator: str) -> None:
        """Store a setting that is bookkeeping (data root, window); not a step to undo."""
        with self._transaction() as connection:
            changes.put_setting(connection, key, json.dumps(value))
            number = changes.record(connection, Change("note", f"set {key}", ()), curator, kind="visit", state="")
        self.head = number

    def note(self, change: Change, curator: str, work: Callable[[Connection], T]) -> T:
        """Do ``work`` and put a line about it into the history; not a step to undo."""
        with self._transaction() as connection:
            done = work(connection)
            number = changes.record(connection, change, curator, kind="visit", state="")
        self.head = number
        return done

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read with, from any thread."""
        if (held := self._held_here()) is not None:
            yield held
            return
        with self._database.explained(), self._database.sensible(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction, from any thread, over rows that no other process reads yet: they make no history."""
        if (held := self._held_here()) is not None:
            yield held
            return
        self._refuse_read_only()
        if self._database.was_replaced():
            raise StaleError(f"{self.path} is not the file it was; it is read again")
        with (
            self._one_writer,
            self._database.explained(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else from writing; all that this thread reads and writes meanwhile is one transaction."""
        with self.writing() as connection:
            before, self._held = self._held, (threading.get_ident(), connection)
            try:
                yield
            finally:
                self._held = before

    def _held_here(self) -> Connection | None:
        held = self._held
        return held[1] if held is not None and held[0] == threading.get_ident() else None

    def _refuse_read_only(self) -> None:
        if self.read_only:
            raise ProjectError(f"the project in {self.place} was opened read-only; the edit was refused")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A write transaction that starts from the state the caller knows."""
        with self.writing() as connection:
            if changes.head(connection) != self.head:
                raise StaleError("the project was changed in another window; it is read again")
            yield connection
