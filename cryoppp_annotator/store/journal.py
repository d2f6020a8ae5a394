"""How SQLite keeps a step whole: the write-ahead log where the disk can have it, the rollback journal elsewhere.

The log needs memory that several processes share (``mmap``), which network and container mounts may lack. SQLite then
takes the request for it and fails with the first statement, *disk I/O error*.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from ..errors import ProjectError

#: Said to the curator once where the write-ahead log cannot be had.
NOTE = (
    "this disk gives programs no shared memory (a network or container mount), so the project uses SQLite's rollback "
    "journal: every step is kept as safely; two windows at once wait for each other a little longer"
)


#: What SQLite opens beside a database, whatever it is.
_BESIDE = ("-wal", "-shm", "-journal")
#: Folders of a project that are written to, or emptied of what is old.
_WRITTEN = (
    "backups",
    "cache",
    "cache/boxes",
    "cache/passport",
    "cache/proposals",
    "cache/thumbnails",
    "classes",
    "maps",
    "models",
    "review",
    "review/seen",
    "templates",
)


def refuse_odd_files(path: Path) -> None:
    """Look beside a database before SQLite does: it waits for a pipe without end.

    Raises
    ------
    ProjectError
    """
    for suffix in _BESIDE:
        beside = path.with_name(path.name + suffix)
        try:
            mode = beside.lstat().st_mode
        except OSError:
            continue
        if not stat.S_ISREG(mode):
            raise ProjectError(
                f"{beside} is no ordinary file, and no part of a project: delete it, and nothing is lost"
            )


def refuse_links(path: Path) -> None:
    """Raises ProjectError where the database, or a folder beside it that is written to, is a link to elsewhere."""
    if path.is_symlink():
        raise ProjectError(
            f"{path} is a link to {os.path.realpath(path)}, which would be changed: open the project that lies there, "
            "or copy it here"
        )
    for name in _WRITTEN:
        folder = path.parent / name
        if folder.is_symlink() and folder.is_dir():
            raise ProjectError(
                f"{folder} is a link to {os.path.realpath(folder)}, where files would be written and deleted: remove "
                "the link; nothing of the picks is lost"
            )


def refuse_foreign(path: Path, timeout_s: float, *, pages: bool) -> None:
    """Look into a database before anything is written to it: opening alone merges the log that lies beside it.

    SQLite takes any log of the right name for the database's own. One of another database, or one that was left when an
    older copy was put back, is written over it. ``pages`` looks whether any page contradicts another, too.

    Raises
    ------
    ProjectError
        The database is of another program, or the log makes nonsense of it.
    """
    log = path.with_name(path.name + "-wal")
    try:
        if not path.stat().st_size:
            return
        pending = log.stat().st_size > 0 if log.exists() else False
    except OSError:
        return  # who opens it says why
    base = path.resolve().as_uri()
    alone = f"{base}?immutable=1"
    if pending and not _is_project(f"{base}?mode=ro", timeout_s, pages) and _is_project(alone, timeout_s, pages):
        raise ProjectError(
            f"{log} does not belong to {path}: it is of another database, or was left when an older copy was put back. "
            f"Nothing was changed. Move {log.name} to another folder, and open the project again"
        )
    if not pending and not _is_project(alone, timeout_s, False, or_empty=True):
        raise ProjectError(f"{path} is a database, but not one of CryoPPP Annotator; it was left alone")


def _is_project(uri: str, timeout_s: float, pages: bool, *, or_empty: bool = False) -> bool:
    """Whether a database is a project (or may become one) whose pages fit each other; True where nobody can say."""
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=timeout_s)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables and not (or_empty and not tables):
                return False
            return not pages or connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError as error:
        return not pages or error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Journal(StrEnum):
    """How SQLite keeps a step whole."""

    WAL = "wal"
    ROLLBACK = "delete"


def choose(path: Path, *, create: bool, timeout_s: float) -> Journal:
    """The journal that works for the database ``path``, which is converted to it where it has another.

    Raises
    ------
    sqlite3.Error
        The file cannot be opened, is no database, or the disk refuses both.
    ProjectError
        It is a link, or something odd is in the place of a file or folder that belongs to it.
    """
    refuse_odd_files(path)
    refuse_links(path)
    refuse_foreign(path, timeout_s, pages=True)
    uri = f"{path.resolve().as_uri()}?mode={'rwc' if create else 'rw'}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)) as connection:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return Journal.WAL if mode == "wal" else Journal.ROLLBACK
    except sqlite3.OperationalError as error:
        if not path.exists() or any(word in str(error).lower() for word in ("locked", "readonly", "full")):
            raise
        _to_rollback(uri, timeout_s)
        return Journal.ROLLBACK


def _to_rollback(uri: str, timeout_s: float) -> None:
    """Take a database out of the write-ahead log without shared memory: a process that is alone with it needs none."""
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def reading_uri(path: Path, timeout_s: float) -> str:
    """How to open a database to read only.

    What an earlier reader left beside it is empty, and on a read-only disk it cannot be made again: the file is then
    read as one that does not change. Where the disk has no shared memory, the write-ahead log is merged into it first.

    Raises
    ------
    sqlite3.Error
        It cannot be read.
    ProjectError
        Something odd is in the place of a file that SQLite opens beside it.
    """
    refuse_odd_files(path)
    refuse_foreign(path, timeout_s, pages=False)
    base = path.resolve().as_uri()
    log = path.with_name(path.name + "-wal")
    pending = log.exists() and log.stat().st_size > 0
    if not os.access(path.parent, os.W_OK) and not pending:
        return f"{base}?immutable=1"
    uri = f"{base}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=timeout_s)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if not path.exists() or "locked" in str(error).lower():
            raise
        if not pending:
            return f"{base}?immutable=1"
        _to_rollback(f"{base}?mode=rw", timeout_s)
    return uri
