"""Damage of the meaning of a project's database, and a walk through all that reads it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from project_tools import import_change, new_project, open_session

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.session.files.exporting import export
from cryoppp_annotator.store import classes
from cryoppp_annotator.store.rules import RULES
from cryoppp_annotator.store.store import DATABASE_NAME

#: What is put into every column in turn; SQLite takes anything anywhere.
VALUES: tuple[object, ...] = (
    None,
    -1,
    0,
    7,
    2**31,
    2**62,
    -(2**62),
    1.5,
    -1e300,
    1e308,
    float("inf"),
    float("-inf"),
    "",
    "nan",
    "x",
    "\0",
    "0",
    "null",
    "true",
    "[]",
    "{}",
    "[1]",
    "{",
    '{"a": 1}',
    '{"files": 3}',
    '{"scale": 0}',
    '{"scale": "x"}',
    '"text"',
    "3",
    "NaN",
    "[" * 100_000,
    '{"a":' * 5000 + "1" + "}" * 5000,
    b"",
    b"\xff\xfe",
    b"\x80abc",
    "é\udc80".encode("utf-8", "surrogateescape"),
    "[[0, 0], [1, 1]]",
    "[[0, 0], [1, 1], [2, null]]",
    '[{"number": 1}]',
    '[{"number": 1, "count": 1, "share": "x"}]',
    "../../../etc/passwd",
    "<img src=file:///etc/passwd>",
    "a" * 100_000,
)
#: What runs when it is read.
PROGRAMS = (
    "ALTER TABLE {t} RENAME TO old_{t}; CREATE VIEW {t} AS SELECT * FROM old_{t}",
    (
        "ALTER TABLE {t} RENAME TO old_{t}; CREATE VIEW {t} AS "
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT old_{t}.* FROM old_{t}, n"
    ),
    "CREATE TRIGGER evil AFTER INSERT ON {t} BEGIN DELETE FROM {t}; END",
    "CREATE TRIGGER evil AFTER INSERT ON change BEGIN DELETE FROM {t}; END",
)


@dataclass(frozen=True)
class Damage:
    """One way in which a database makes no sense."""

    name: str
    do: Callable[[sqlite3.Connection], None]


def sound_project(folder: Path) -> Path:
    """A project in which every table has rows, and history."""
    new_project(folder)
    session = open_session(folder)
    n = 30
    session.insert(import_change([1 + i % 2 for i in range(n)], range(n), range(n), np.linspace(0, 1, n)))
    session.go(1)
    session.add(100.0, 200.0)
    session.decide(session.particles.id[:3], Decision.REJECTED, Reason.ICE)
    session.store.set_setting("data_root", ".", "ann")
    session.set_diameter(120.0)
    with session.store.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO region (id, micrograph, reason, origin, vertices) VALUES "
            "(1, 1, 1, 'hand', '[[0, 0], [0, 50], [50, 50]]'), (2, 2, 2, 'found', '[[0, 0], [0, 50], [50, 50]]')"
        )
    run = classes.begin(session.store, {"kind": "classify", "engine": "e", "seed": 1}, head=0, pixel_size_A=2.0)
    ids = session.store.particles(1).id
    columns = {name: np.zeros(len(ids)) for name in ("posterior", "shift_x", "shift_y", "angle_deg", "x", "y")}
    classes.add_members(session.store, run, {"particle": ids, "number": np.ones(len(ids), np.int32), **columns})
    with session.store.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE class_run SET name = 'run', folder = 'classes/run-0001', "
            """summary = '[{"number": 1, "count": 15, "share": 1.0}]'"""
        )
    session.close()
    return folder


def meaningless() -> Iterator[Damage]:
    """Every value in every column of the first row, of every table; and what runs by itself."""
    for table, rules in RULES.items():
        for column in rules:
            for k, value in enumerate(VALUES):
                yield Damage(f"{table}.{column} = value {k} {str(value)[:20]!r}", _put(table, column, value))
        yield Damage(f"no table {table}", _run(f"DROP TABLE {table}"))
        for k, script in enumerate(PROGRAMS):
            yield Damage(f"program {k} in {table}", _run(script.format(t=table)))


def _put(table: str, column: str, value: object) -> Callable[[sqlite3.Connection], None]:
    def do(connection: sqlite3.Connection) -> None:
        first = f"(SELECT rowid FROM {table} ORDER BY rowid LIMIT 1)"
        connection.execute(f'UPDATE OR IGNORE {table} SET "{column}" = ? WHERE rowid = {first}', (value,))

    return do


def _run(script: str) -> Callable[[sqlite3.Connection], None]:
    return lambda connection: connection.executescript(f"PRAGMA legacy_alter_table=ON; {script}") and None


def damaged_copy(sound: Path, folder: Path, damage: Damage) -> bool:
    """Copy a project and damage the copy; False where SQLite itself refused."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA ignore_check_constraints=ON")
        try:
            damage.do(connection)
            connection.commit()
        except sqlite3.Error:
            return False
    return True


def flipped_copy(sound: Path, folder: Path, seed: int) -> None:
    """Copy a project with some bytes of its database flipped."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    path = folder / DATABASE_NAME
    data = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 4, 40))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def walk(folder: Path, out: Path) -> None:
    """Open a project and read all of it, decide, undo, redo, export. Raises what the program raises."""
    session: Session = open_session(folder)
    try:
        for micrograph in session.micrographs:
            session.go(micrograph.id)
            session.store.extra(micrograph.id)
            session.store.regions(micrograph.id)
            session.pixel_size_A(micrograph)
        session.counts()
        session.store.history()
        session.store.sample_scores(Which())
        for run in classes.runs(session.store):
            classes.counts(session.store, run["id"], 3)
            classes.micrographs_of(session.store, run["id"], [1])
        if len(session.particles):
            session.decide(session.particles.id[:2], Decision.ACCEPTED)
        for _ in range(4):
            session.undo()
        session.redo()
        export(session, out, "relion", decisions=list(Decision))
    finally:
        session.close()
