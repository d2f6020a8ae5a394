"""SQLite files of other programs, opened so that nothing here can change them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ...errors import FormatError

SQLITE_MAGIC = b"SQLite format 3\x00"


@contextmanager
def opened(path: Path, what: str) -> Iterator[sqlite3.Connection]:
    """Open a database read-only; every error of SQLite becomes a FormatError.

    Parameters
    ----------
    path : Path
    what : str
        What it should be, for the message.
    """
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA query_only = ON")
            database.text_factory = lambda data: data.decode("utf-8", errors="replace")
            yield database
    except (sqlite3.Error, OverflowError, ValueError) as error:
        raise FormatError(f"is no readable {what} ({error})", path) from error


def tables(database: sqlite3.Connection) -> set[str]:
    """Names of the tables, in upper case."""
    names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {name.upper() for (name,) in names if isinstance(name, str)}
