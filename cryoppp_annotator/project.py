"""The door for Python: a project as pandas tables, and decisions about it as steps that can be undone.

    >>> from cryoppp_annotator import open_project
    >>> with open_project("data/10017") as project:
    ...     picks = project.picks(decision="undecided")
    ...     project.decide(picks[picks.score < 1.5], "rejected", "not a particle")

Every column and its unit is in ``docs/python.md``. Coordinates are the centre of the particle: ``x`` the column and
``y`` the row of the image as stored in its file (row 0 is the first in the file), 0-based, pixel centres on integers,
px of the full micrograph.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .errors import Refused
from .model.curation import Change, Decision, Reason
from .model.micrograph import Micrograph
from .model.region import Origin
from .model.which import Which
from .session.core import assigning, edits
from .session.core.opening import find_project
from .session.core.opening import open_project as open_session
from .session.core.server_projects import project_path
from .session.core.session import Session
from .session.core.step import Done, Step
from .session.pictures.optics import ctf_of
from .store.store import Connection, Store

E = TypeVar("E", Decision, Reason)

DECISIONS = [decision.name.lower() for decision in Decision]
REASONS = [reason.label for reason in Reason]
#: Kind of the pick sets that come in here.
SCRIPT = "script"


class Project:
    """One project; made by :func:`open_project`, to be closed (or used in a ``with`` block).

    What a window changes meanwhile is there at the next call, and what is changed here shows in the window within two
    seconds. Nothing is kept in memory that would have to be saved.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    # ------------------------------------------------------------------ looking

    @property
    def folder(self) -> Path:
        """The project's folder."""
        return self._session.store.folder

    @property
    def read_only(self) -> bool:
        """Whether verbs are refused."""
        return self._session.store.read_only

    @property
    def diameter_A(self) -> float:
        """The particle diameter of picks that have none of their own, angstrom."""
        self._session.poll()
        return self._session.diameter_A

    def picks(
        self,
        micrograph: str | int | Sequence[str | int] | None = None,
        *,
        decision: str | Sequence[str] | None = None,
        pick_set: int | Sequence[int] | None = None,
    ) -> pd.DataFrame:
        """Picks, one row each, by their id, which is for ever.

        Parameters
        ----------
        micrograph : str, int or sequence, optional
            Names or ids; all by default.
        decision : str or sequence, optional
            ``undecided``, ``accepted``, ``rejected``; all by default.
        pick_set : int or sequence, optional
            Numbers of pick sets; all by default.

        Returns
        -------
        DataFrame
            ``micrograph, micrograph_id, x, y`` (px), ``diameter_A`` (the project's where it has none), ``score``
            (NaN = none), ``decision, reason`` (empty = none), ``class`` (0 = none), ``species`` (empty = none),
            ``set, set_id, curator``.

        Raises
        ------
        Refused
            There is no such micrograph, or no such decision.
        """
        session = self._session
        session.poll()
        which = Which(
            micrographs=None if micrograph is None else tuple(self._id_of(name) for name in _several(micrograph)),
            decisions=None if decision is None else tuple(_as(Decision, word) for word in _several(decision)),
            pick_sets=None if pick_set is None else tuple(int(number) for number in _several(pick_set)),
        )
        picks = session.store.particles_where(which)
        names = {m.id: m.name for m in [*session.micrographs, *session.removed.values()]}
        sets, kinds = session.pick_sets, session.species
        reasons = {int(reason): "" if reason is Reason.NONE else reason.label for reason in Reason}
        columns = {
            "micrograph": [names[i] for i in picks.micrograph.tolist()],
            "micrograph_id": picks.micrograph,
            "x": picks.x,
            "y": picks.y,
            "diameter_A": session.diameters_A(picks),
            "score": picks.score,
            "decision": pd.Categorical([DECISIONS[i] for i in picks.decision.tolist()], categories=DECISIONS),
            "reason": [reasons[i] for i in picks.reason.tolist()],
            "class": picks.class_id,
            "species": [kinds[i].name if i in kinds else "" for i in picks.species.tolist()],
            "set": [sets[i].name for i in picks.pick_set.tolist()],
            "set_id": picks.pick_set,
            "curator": [sets[i].curator for i in picks.pick_set.tolist()],
        }
        return pd.DataFrame(columns, index=pd.Index(picks.id, name="id"))

    def micrographs(self) -> pd.DataFrame:
        """Micrographs, one row each, by id.

        Returns
        -------
        DataFrame
            ``name, path, width, height`` (px), ``pixel_size_A, pixel_size_doubt`` (empty = fine), ``state, state_by,
            assigned`` (the curator who is to do it; empty = nobody in particular), ``accepted, undecided, rejected``
            (picks), ``defocus_u_A, defocus_v_A, defocus_angle_deg, voltage_kV`` (NaN = not known), ``changed`` (another
            image than the one that was picked), ``problem`` (why the file cannot be used).
        """
        session = self._session
        session.poll()
        rows = [self._micrograph_row(m) for m in session.micrographs]
        index = pd.Index([m.id for m in session.micrographs], name="id", dtype=np.int64)
        return pd.DataFrame(rows, index=index, columns=list(self._micrograph_row(Micrograph(0, "", ""))))

    def _micrograph_row(self, m: Micrograph) -> dict[str, Any]:
        ctf = ctf_of(m)
        return {
            "name": m.name,
            "path": str(self._session.path_of(m)),
            "width": m.width,
            "height": m.height,
            "pixel_size_A": self._session.pixel_size_A(m),
            "pixel_size_doubt": self._session.settings.pixel_size_doubt(m),
            "state": m.state.value,
            "state_by": m.state_by,
            "assigned": m.assigned,
            "accepted": m.n_accepted,
            "undecided": m.n_undecided,
            "rejected": m.n_rejected,
            "defocus_u_A": np.nan if ctf is None else ctf.defocus.u_A,
            "defocus_v_A": np.nan if ctf is None else ctf.defocus.v_A,
            "defocus_angle_deg": np.nan if ctf is None else ctf.defocus.angle_deg,
            "voltage_kV": np.nan if ctf is None else ctf.optics.voltage_kV,
            "changed": m.changed,
            "problem": m.problem,
        }

    def regions(self) -> pd.DataFrame:
        """Regions where there is nothing to pick, one row each, by id; not the dismissed ones.

        Returns
        -------
        DataFrame
            ``micrograph, micrograph_id, reason, origin`` (``hand`` or ``found``), ``area`` (px squared), ``vertices``
            ((n, 2) float64, xy, px), ``curator, created``.
        """
        session = self._session
        session.poll()
        names = {m.id: m.name for m in session.micrographs}
        regions = [r for r in session.store.regions() if r.origin is not Origin.DISMISSED and r.micrograph in names]
        columns: dict[str, list[Any]] = {
            "micrograph": [names[r.micrograph] for r in regions],
            "micrograph_id": [r.micrograph for r in regions],
            "reason": [r.reason.label for r in regions],
            "origin": [r.origin.value for r in regions],
            "area": [r.area for r in regions],
            "vertices": [r.vertices[:, ::-1].copy() for r in regions],
            "curator": [r.curator for r in regions],
            "created": [r.created for r in regions],
        }
        return pd.DataFrame(columns, index=pd.Index([r.id for r in regions], name="id", dtype=np.int64))

    def history(self, limit: int | None = None) -> pd.DataFrame:
        """Who did what when, one row a step, by number, newest first.

        Parameters
        ----------
        limit : int, optional
            Only so many of the newest.

        Returns
        -------
        DataFrame
            ``at`` (UTC), ``curator, kind`` (``do``, ``undo``, ``redo``, ``visit``), ``state`` (of a do: ``applied``,
            ``undone``, ``abandoned``), ``verb, title, micrograph`` (empty = several), ``picks`` (how many it changed).
        """
        session = self._session
        session.poll()
        names = {m.id: m.name for m in [*session.micrographs, *session.removed.values()]}
        lines = session.history(2**31 if limit is None else limit)
        columns: dict[str, Any] = {
            "at": pd.to_datetime([line.at for line in lines], utc=True, format="ISO8601"),
            "curator": [line.curator for line in lines],
            "kind": [line.kind for line in lines],
            "state": [line.state for line in lines],
            "verb": [line.verb for line in lines],
            "title": [line.title for line in lines],
            "micrograph": ["" if line.micrograph is None else names.get(line.micrograph, "") for line in lines],
            "picks": [line.n_particles for line in lines],
        }
        return pd.DataFrame(columns, index=pd.Index([line.id for line in lines], name="id", dtype=np.int64))

    # ------------------------------------------------------------------ deciding

    def decide(self, picks: pd.DataFrame | Iterable[int] | int, decision: str, reason: str = "") -> int:
        """Decide about picks, wherever they are, as one step that can be undone.

        Parameters
        ----------
        picks : DataFrame, iterable of int or int
            Rows of :meth:`picks`, or ids.
        decision : str
            ``accepted``, ``rejected`` or ``undecided``.
        reason : str
            Of a rejection: ``carbon, ice, aggregate, overlap, edge, off-centre, wrong species, not a particle,
            other``.

        Returns
        -------
        int
            How many picks changed.

        Raises
        ------
        Refused
            An id belongs to no pick, or there is no such decision or reason.
        ProjectError
            The project was opened read-only, or the disk refuses; nothing was changed.
        """
        chosen = tuple(dict.fromkeys(_ids(picks)))
        decided, because = _as(Decision, decision), _as(Reason, reason) if reason else Reason.NONE
        if because is not Reason.NONE and decided is not Decision.REJECTED:
            raise Refused(f"a reason goes with a rejection; {decision} has none")
        which = Which(ids=chosen, removed=True)
        picks_now = self._session.store.particles_where(which)
        if len(picks_now) < len(chosen):
            gone = sorted(set(chosen) - set(picks_now.id.tolist()))
            raise Refused(f"{len(gone):,} of {len(chosen):,} ids are no picks of this project ({gone[0]} first)")
        outcome = self._session.decide_where(which, decided, because, "chosen in Python")
        return outcome.n if isinstance(outcome, Done) else 0

    def add_picks(self, picks: pd.DataFrame, name: str = "from Python", *, decision: str = "undecided") -> list[int]:
        """Add picks as a new pick set, as one step that can be undone.

        Parameters
        ----------
        picks : DataFrame
            ``micrograph`` (name or id), ``x``, ``y`` (px), and if you like ``score``, ``diameter_A``, ``class``.
        name : str
            What the pick set is called.
        decision : str
            Given to all of them.

        Returns
        -------
        list of int
            Their ids, in the order of the rows.

        Raises
        ------
        Refused
            A column is missing, a position is not a number, or there is no such micrograph.
        ProjectError
            As :meth:`decide`.
        """
        columns = self._columns(picks, _as(Decision, decision))
        n = len(picks)
        if not n:
            raise Refused("there are no picks to add")
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

        def build(_store: Store, _connection: Connection) -> Change:
            pick_set = edits.new_pick_set(SCRIPT, name, self._session.curator, created=now)
            what = f"{edits.count_of(n)} from Python ({name})"
            deltas = (pick_set, edits.insert_particles(columns, n))
            return Change("add", f"add {what}", deltas, None, f"added {what}")

        outcome = self._session.commit(Step(build, n, f"adding {edits.count_of(n)}"))
        return outcome.committed.change.deltas[-1].ids.tolist() if isinstance(outcome, Done) else []

    def _columns(self, picks: pd.DataFrame, decision: Decision) -> dict[str, Any]:
        if missing := [name for name in ("micrograph", "x", "y") if name not in picks.columns]:
            raise Refused(f"the table has no column {missing[0]!r}; needed are micrograph, x and y")
        self._session.poll()
        n = len(picks)
        x, y = _numbers(picks, "x"), _numbers(picks, "y")
        bad = np.flatnonzero(~(np.isfinite(x) & np.isfinite(y)))
        if len(bad):
            raise Refused(f"row {picks.index[bad[0]]} has no position ({x[bad[0]]}, {y[bad[0]]})")
        nothing = np.full(n, np.nan)
        known: dict[Any, int] = {value: self._id_of(value) for value in picks["micrograph"].unique().tolist()}
        return {
            "micrograph": np.array([known[value] for value in picks["micrograph"].tolist()], np.int64),
            "pick_set": np.array([-1], np.int64),
            "x": x,
            "y": y,
            "diameter_A": _numbers(picks, "diameter_A") if "diameter_A" in picks.columns else nothing,
            "score": _numbers(picks, "score") if "score" in picks.columns else nothing,
            "decision": np.full(n, int(decision), np.int8),
            "reason": np.zeros(n, np.int8),
            "class_id": _classes(picks),
        }

    def assign(self, micrographs: str | int | Sequence[str | int], curator: str) -> None:
        """Give micrographs (names or ids) to a curator, as one step; an empty name gives them to nobody in particular.

        Raises
        ------
        Refused
            There is no such micrograph, or that is no name.
        ProjectError
            As :meth:`decide`.
        """
        self._session.poll()
        assigning.assign(self._session, [self._id_of(name) for name in _several(micrographs)], curator)

    def undo(self) -> str | None:
        """Take your last step back, wherever it was made. Returns its title; None where there is none."""
        return self._session.undo()

    def redo(self) -> str | None:
        """Repeat your last undone step. Returns its title; None where there is none."""
        return self._session.redo()

    # ------------------------------------------------------------------ inside

    def _id_of(self, micrograph: str | int) -> int:
        session = self._session
        if isinstance(micrograph, str):
            named = [m.id for m in session.micrographs if micrograph in (m.name, m.path, str(session.path_of(m)))]
            if len(named) > 1:
                raise Refused(f"{len(named)} micrographs are called {micrograph}; say which by its id")
            if named:
                return named[0]
        elif any(m.id == micrograph for m in session.micrographs):
            return int(micrograph)
        raise Refused(f"the project has no micrograph {micrograph!r}")

    def close(self) -> None:
        """Give the database back."""
        self._session.close()

    def __enter__(self) -> Project:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def open_project(path: str | Path, *, curator: str | None = None, read_only: bool = False) -> Project:
    """Open a project.

    Parameters
    ----------
    path : str or Path
        The project, its database, the folder of micrographs that it was made for, or the address of a PostgreSQL
        server's database (``postgresql://NAME@HOST/DATABASE``).
    curator : str, optional
        Who decides; stands with every step. Your login name by default.
    read_only : bool
        Refuse every change. Works beside an open window, and where nothing can be written.

    Raises
    ------
    ProjectError
        There is none, or it cannot be opened.
    """
    return Project(open_session(find_project(project_path(path)), curator=curator, read_only=read_only))


def _several(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or np.ndim(value) == 0 else list(value)


def _ids(picks: pd.DataFrame | Iterable[int] | int) -> list[int]:
    values = picks.index if isinstance(picks, pd.DataFrame) else _several(picks)
    try:
        return [int(value) for value in values]
    except (TypeError, ValueError):
        raise Refused("picks are chosen by their ids: the rows of picks(), or whole numbers") from None


def _as(kind: type[E], word: str) -> E:
    """A decision or a reason by the word a person uses."""
    for member in kind:
        if word in (member.name.lower(), member.name.lower().replace("_", " "), getattr(member, "label", "")):
            return member
    words = ", ".join(DECISIONS if kind is Decision else REASONS[1:])
    raise Refused(f"there is no {kind.__name__.lower()} {word!r}; there are {words}")


def _numbers(picks: pd.DataFrame, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return pd.to_numeric(picks[name]).to_numpy(np.float64, na_value=np.nan).copy()
    except (ValueError, TypeError) as error:
        raise Refused(f"the column {name!r} holds something that is no number ({error})") from None


def _classes(picks: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.int32]]:
    if "class" not in picks.columns:
        return np.zeros(len(picks), np.int32)
    return np.asarray(np.nan_to_num(_numbers(picks, "class")), np.int32)
