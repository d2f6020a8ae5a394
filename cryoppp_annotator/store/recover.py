"""What is sound in a damaged database, row by row, into a new one."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ProjectError, disk_reason
from ..formats.atomic import whole_folder
from ..formats.kept_arrays import open_kept
from . import connecting
from .rules import REFERENCES, RULES, decoded
from .soundness import decoding_problem, find_programs, quoted
from .store import DATABASE_NAME, Store

#: Tables in an order in which what is pointed to comes first.
_ORDER = (
    "micrograph",
    "pick_set",
    "species",
    "particle",
    "region",
    "record",
    "class_run",
    "class_member",
    "change",
    "setting",
    "id_counter",
)
#: Rows read at once; where a page among them is damaged, fewer and fewer.
_PIECE = 4096
#: Folders of files that belong to a project.
_FOLDERS = ("classes", "maps", "templates", "models")


@dataclass(slots=True)
class Recovered:
    """What a recovery saved.

    Attributes
    ----------
    saved, lost : mapping of table name to rows
        ``lost`` counts rows that were there and make no sense or point to what is not there. ``file`` stands for what
        lies beside the database: links, pipes and what cannot be read are lost.
    unreadable : list of str
        Tables of which a part could not even be read.
    """

    saved: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def recover(folder: Path, new: Path, *, check: Callable[[], None] = lambda: None) -> Recovered:
    """Save every sound row of the project in ``folder`` into a new project in ``new``; the old one is left alone.

    Parameters
    ----------
    check : callable
        Called between pieces; raises to cancel.

    Raises
    ------
    ProjectError
        There is no database, nothing of it can be read, or ``new`` holds a project already.
    """
    connecting.refuse_missing(folder)
    if connecting.exists(new):
        raise ProjectError(f"there is already a project in {new}")
    report = Recovered()
    intact = f"nothing was written, and {folder} is as it was"
    try:
        with whole_folder(new) as fresh:
            Store.create(fresh).close()
            _rows(folder, fresh, report, check)
            _files(folder, fresh, report, check)
    except OSError as error:
        raise ProjectError(f"{new} cannot be written ({disk_reason(error)}); {intact}") from error
    except ProjectError as error:
        if "is full" in str(error):
            raise ProjectError(f"the disk of {new} is full; {intact}. Free some space and repeat the step") from error
        raise
    return report


def _rows(folder: Path, new: Path, report: Recovered, check: Callable[[], None]) -> None:
    try:
        with connecting.all_rows(folder) as source, closing(sqlite3.connect(new / DATABASE_NAME)) as target:
            # what runs is not asked: of such a database only its tables are read
            tables = {str(row[0]) for row in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if any("computed" in words or "virtual" in words for words in find_programs(source)):
                raise ProjectError(f"{folder} holds tables that are programs; nothing of it was read")
            target.execute("PRAGMA foreign_keys=OFF")
            for table in _ORDER:
                if table in tables:
                    check()
                    _copy(source, target, table, report, check)
            _follow_data_root(target, folder)
            _count_again(target)
            target.commit()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        if "is full" in str(error):
            raise ProjectError(str(error)) from error
        raise ProjectError(
            f"{folder / DATABASE_NAME} cannot be read at all ({error}); use a copy from its folder 'backups'"
        ) from error


def _files(folder: Path, new: Path, report: Recovered, check: Callable[[], None]) -> None:
    """Copy ordinary files that can be read; links are not followed, and nothing waits for a pipe."""
    saved = lost = 0
    for name in _FOLDERS:
        for parent, folders, files in os.walk(folder / name):
            if Path(parent).is_symlink():
                folders.clear()
                continue
            there = new / Path(parent).relative_to(folder)
            there.mkdir(parents=True, exist_ok=True)
            for file in files:
                check()
                ok = _copied(Path(parent) / file, there / file)
                saved, lost = saved + ok, lost + (not ok)
    if saved or lost:
        report.saved["file"], report.lost["file"] = saved, lost


def _copied(source: Path, target: Path) -> bool:
    """Whether a file could be read and was copied. Raises OSError where it cannot be written."""
    if source.is_symlink():
        return False
    try:
        stream = open_kept(source)
    except (OSError, ValueError):
        return False
    with stream, target.open("wb") as copy:
        while True:
            try:
                piece = stream.read(1 << 20)
            except OSError:
                piece = None
            if not piece:
                break
            copy.write(piece)
    if piece is None:
        target.unlink()
    return piece is not None


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, table: str, report: Recovered, check: Callable[[], None]
) -> None:
    columns = [str(row[1]) for row in source.execute(f"PRAGMA table_info({table})")]
    expected = [str(row[1]) for row in target.execute(f"PRAGMA table_info({table})")]
    names = [name for name in expected if name in columns]
    kinds = {0, *(row[0] for row in target.execute("SELECT id FROM species"))}
    known = {
        column: {row[0] for row in target.execute(f"SELECT id FROM {other}")}
        for from_table, column, other in REFERENCES
        if from_table == table and column in columns and other != "species"
    }
    good = " AND ".join(
        f"ifnull({rule.good.format(c=quoted(name))}, 0)" for name, rule in RULES[table].items() if name in columns
    )
    statement = (
        f"INSERT OR IGNORE INTO {table} ({', '.join(map(quoted, names))}) VALUES ({', '.join('?' * len(names))})"
    )
    saved = lost = 0
    if table == "setting":
        target.execute("DELETE FROM setting")
    if table == "id_counter":
        target.execute("DELETE FROM id_counter")
    for rows in _pieces(source, table, names, good or "1", report):
        check()
        sound = [_of_known_kind(names, row[:-1], kinds) for row in rows if row[-1] and _fits(table, names, row, known)]
        lost += len(rows) - len(sound)
        saved += target.executemany(statement, sound).rowcount if sound else 0
    report.saved[table], report.lost[table] = saved, lost


def _of_known_kind(names: list[str], row: tuple[Any, ...], kinds: set[int]) -> tuple[Any, ...]:
    """A row; a pick whose species is lost is kept without one."""
    if "species" not in names:
        return row
    return tuple(0 if n == "species" and v not in kinds else v for n, v in zip(names, row, strict=True))


def _fits(table: str, names: list[str], row: tuple[Any, ...], known: dict[str, set[int]]) -> bool:
    values = dict(zip(names, row, strict=False))
    if any(values[column] not in ids for column, ids in known.items()):
        return False
    return not any(decoding_problem(rule, values[name]) for name, rule in RULES[table].items() if name in values)


def _pieces(
    source: sqlite3.Connection, table: str, names: list[str], good: str, report: Recovered
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows with, last, whether they are sound; around pages that cannot be read."""
    query = f"SELECT {', '.join(map(quoted, names))}, ({good}) FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid"
    try:
        first, last = source.execute(f"SELECT min(rowid), max(rowid) FROM {table}").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        report.unreadable.append(table)
        return
    if first is None:
        return
    spans = [(int(first), int(last))]
    while spans:
        low, high = spans.pop()
        try:
            # skips what is empty between ids far apart
            start = source.execute(f"SELECT min(rowid) FROM {table} WHERE rowid >= ?", (low,)).fetchone()[0]
            if start is None or start > high:
                continue
            low = int(start)
            stop = min(high, low + _PIECE - 1)
            rows = source.execute(query, (low, stop)).fetchall()
        except (sqlite3.Error, UnicodeDecodeError):
            if high - low < 1:
                if table not in report.unreadable:
                    report.unreadable.append(table)
                continue
            middle = low + min(high - low, _PIECE) // 2
            spans += [(middle + 1, high), (low, middle)] if middle > low else [(low + 1, high), (low, low)]
            continue
        if stop < high:
            spans.append((stop + 1, high))
        if rows:
            yield rows


def _follow_data_root(target: sqlite3.Connection, folder: Path) -> None:
    """Where the images lie, as a path that also holds from the new folder."""
    row = target.execute("SELECT value FROM setting WHERE key = 'data_root'").fetchone()
    root = folder.parent if row is None else Path(str(decoded(row[0])))
    if not root.is_absolute():
        root = (folder / root).resolve()
    target.execute("INSERT OR REPLACE INTO setting (key, value) VALUES ('data_root', ?)", (json.dumps(str(root)),))


def _count_again(target: sqlite3.Connection) -> None:
    """Counts of each micrograph, and the counters from which ids are taken, follow the rows that are there."""
    for column, decision in (("n_undecided", 0), ("n_accepted", 1), ("n_rejected", 2)):
        target.execute(
            f"UPDATE micrograph SET {column} = (SELECT count(*) FROM particle "
            f"WHERE particle.micrograph = micrograph.id AND particle.decision = {decision})"
        )
    for table in ("micrograph", "pick_set", "species", "particle", "region", "record", "class_run"):
        last = target.execute(f"SELECT ifnull(max(id), 0) + 1 FROM {table}").fetchone()[0]
        target.execute(
            "INSERT INTO id_counter (name, next) VALUES (?, ?) "
            "ON CONFLICT (name) DO UPDATE SET next = max(next, excluded.next)",
            (table, last),
        )
