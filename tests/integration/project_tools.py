"""Makes small projects without images, and looks into them by plain sqlite3, past everything that is tested."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cryoppp_annotator.model.curation import Change, Decision, Delta, Kind, Table, unpack
from cryoppp_annotator.model.micrograph import Micrograph
from cryoppp_annotator.model.pick_set import PickSet
from cryoppp_annotator.session.core import edits
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.store.store import DATABASE_NAME, Store

PIXEL_SIZE_A = 1.5


def new_project(folder: Path, n_micrographs: int = 3) -> Path:
    """A project of micrographs ``m0 ..`` whose files do not exist."""
    store = Store.create(folder)
    picks = (
        Micrograph(0, f"m{i}", f"m{i}.mrc", width=4096, height=4096, header_pixel_size_A=PIXEL_SIZE_A)
        for i in range(n_micrographs)
    )
    store.add_micrographs(picks, "setup")
    store.close()
    return folder


def open_session(folder: Path, curator: str = "ann", *, read_only: bool = False) -> Session:
    return Session(Store.open(folder, read_only=read_only), curator=curator, data_root=folder)


def import_change(
    micrograph: Iterable[int], x: Iterable[float], y: Iterable[float], score: Iterable[float], curator: str = "ann"
) -> Change:
    """An imported pick set, undecided, as ``session.insert`` takes it."""
    on = np.asarray(list(micrograph), np.int64)
    columns = {
        "micrograph": on,
        "pick_set": np.array([-1], np.int64),
        "x": np.asarray(list(x), np.float64),
        "y": np.asarray(list(y), np.float64),
        "score": np.asarray(list(score), np.float64),
        "decision": np.array([int(Decision.UNDECIDED)], np.int8),
        "extra": np.array([f'{{"rlnRow": "{i}"}}'.encode() if i % 2 else b"" for i in range(len(on))]),
    }
    pick_set = edits.new_pick_set("import", "picks.star", curator, source="picks.star")
    one = int(on[0]) if len(set(on.tolist())) == 1 else None
    return Change("import", f"import {len(on)} picks", (pick_set, edits.insert_particles(columns, len(on))), one)


def query(folder: Path, sql: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql, parameters)]


def table(folder: Path, name: str) -> dict[Any, dict[str, Any]]:
    """The rows of a table by their first column."""
    rows = query(folder, f"SELECT * FROM {name} ORDER BY 1")
    return {next(iter(row.values())): row for row in rows}


def state(folder: Path) -> dict[str, Any]:
    """All that curators can change; a setting of null is one that nobody set."""
    settings = {key: row["value"] for key, row in table(folder, "setting").items() if row["value"] != "null"}
    return {
        "setting": settings,
        "micrograph": table(folder, "micrograph"),
        "pick_set": table(folder, "pick_set"),
        "particle": table(folder, "particle"),
    }


def true_counts(folder: Path) -> dict[int, tuple[int, int, int]]:
    """Undecided, accepted, rejected of every micrograph that has particles, counted."""
    sql = """SELECT micrograph, SUM(decision = 0) AS u, SUM(decision = 1) AS a, SUM(decision = 2) AS r
             FROM particle GROUP BY micrograph"""
    return {row["micrograph"]: (row["u"], row["a"], row["r"]) for row in query(folder, sql)}


def replay(folder: Path) -> dict[int, dict[str, Any]]:
    """The particle table as the change log alone tells it, from nothing."""
    log = table(folder, "change")
    particles: dict[int, dict[str, Any]] = {}
    for entry in log.values():
        if entry["kind"] == "visit":
            continue
        source = entry if entry["kind"] == "do" else log[entry["target"]]
        deltas = _deltas(source["payload"])
        if entry["kind"] == "undo":
            deltas = tuple(delta.inverse() for delta in reversed(deltas))
        for delta in deltas:
            if delta.table is Table.PARTICLE:
                _replay_one(particles, delta)
    return dict(sorted(particles.items()))


@lru_cache(maxsize=4096)
def _deltas(payload: bytes) -> tuple[Delta, ...]:
    """A log is replayed after each of many steps: what its lines say does not change."""
    return unpack(payload)


_UNKNOWN = {"diameter_A": None, "score": None, "decision": 0, "reason": 0, "class_id": 0, "species": 0, "extra": None}


def _replay_one(particles: dict[int, dict[str, Any]], delta: Delta) -> None:
    n = len(delta)
    columns = {name: np.broadcast_to(column, (n,)).tolist() for name, column in delta.after.items()}
    for k, i in enumerate(delta.ids.tolist()):
        if delta.kind is Kind.DELETE:
            del particles[i]
            continue
        values = {name: column[k] for name, column in columns.items()}
        values = {name: _as_stored(v) for name, v in values.items()}
        if delta.kind is Kind.INSERT:
            assert i not in particles
            particles[i] = {"id": i, **_UNKNOWN, **values}
        else:
            particles[i].update(values)


def _as_stored(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode() or None
    return None if value != value else value


def shown(session: Session) -> dict[int, dict[str, Any]]:
    """The particles in the session's memory as the store's rows (without ``extra``, which memory does not hold)."""
    p = session.particles
    columns = {"id": p.id, **p.columns()}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return {row[0]: {name: None if v != v else v for name, v in zip(columns, row, strict=True)} for row in rows}


def check_memory(session: Session) -> None:
    """What the session shows is what the file holds, and the counts are true."""
    folder = session.store.folder
    held = state(folder)
    counts = true_counts(folder)
    assert len(session.micrographs) == len(held["micrograph"])
    for m in session.micrographs:
        row = held["micrograph"][m.id]
        assert row == {name: getattr(m, name) for name in row}
        assert (m.n_undecided, m.n_accepted, m.n_rejected) == counts.get(m.id, (0, 0, 0))
    assert session.counts() == {
        "undecided": sum(c[0] for c in counts.values()),
        "accepted": sum(c[1] for c in counts.values()),
        "rejected": sum(c[2] for c in counts.values()),
    }
    assert session.pick_sets == {i: PickSet.from_row(row) for i, row in held["pick_set"].items()}
    assert {k: v for k, v in session.settings.values.items() if v is not None} == {
        key: _json(text) for key, text in held["setting"].items()
    }
    if session.current_id is not None:
        here = {i: dict(row) for i, row in held["particle"].items() if row["micrograph"] == session.current_id}
        for row in here.values():
            del row["extra"]
        assert shown(session) == here


def _json(text: str) -> Any:
    return json.loads(text)


def integrity(folder: Path) -> str:
    problems = query(folder, "PRAGMA foreign_key_check")
    assert not problems, problems
    return str(query(folder, "PRAGMA integrity_check")[0]["integrity_check"])
