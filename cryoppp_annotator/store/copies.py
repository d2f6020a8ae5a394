"""Copies of a project's database, for the day on which it is damaged: one a day, and one before each migration."""

from __future__ import annotations

import contextlib
import datetime
import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from ..errors import disk_reason
from .journal import reading_uri

log = logging.getLogger(__name__)

#: In the project's folder.
DATABASE_NAME = "annotations.sqlite"
#: Beside the database.
FOLDER = "backups"
#: The latest copies of each kind are kept.
KEPT = 3
#: No copy is made where the disk would not have so many times its size left.
_ROOM = 3
_PATIENCE_S = 3.0


def keep_daily(database: Path) -> Path | None:
    """Copy a sound database once a day, on its first opening; None where there is one of today, or it cannot be."""
    return _keep(database, f"{database.stem}-{datetime.date.today().isoformat()}.sqlite")


def keep_before_migration(database: Path, revision: str) -> Path | None:
    """Copy a database before its tables are changed; None where it cannot be."""
    return _keep(database, f"{database.stem}-schema-{revision}.sqlite")


def latest(database: Path) -> Path | None:
    """The newest copy; None where there is none."""
    try:
        copies = sorted((copy.stat().st_mtime, copy) for copy in _copies(database))
    except OSError:
        return None
    return copies[-1][1] if copies else None


def advice(database: Path) -> str:
    """What to do about a damaged database, in one sentence."""
    copy = latest(database)
    name = database.name
    back = (
        ""
        if copy is None
        else f" or go back to the copy {FOLDER}/{copy.name} (put it in the place of {name}, and delete {name}-wal)"
    )
    return f"run 'cryoppp-annotator recover {database.parent} -o NEW-FOLDER' to save what is sound{back}"


def _keep(database: Path, name: str) -> Path | None:
    target = database.parent / FOLDER / name
    aside = target.with_name(f".{name}.part")
    try:
        if target.exists() or shutil.disk_usage(database.parent).free < _ROOM * database.stat().st_size:
            return None
        if target.parent.is_symlink():
            return None
        target.parent.mkdir(exist_ok=True)
        aside.unlink(missing_ok=True)
        with (
            closing(sqlite3.connect(reading_uri(database, _PATIENCE_S), uri=True, timeout=_PATIENCE_S)) as source,
            closing(sqlite3.connect(aside)) as copy,
        ):
            source.backup(copy)
        aside.replace(target)
        _forget_old(database)
    except (OSError, sqlite3.Error) as error:
        reason = disk_reason(error) if isinstance(error, OSError) else error
        log.warning("no copy of %s was made (%s)", database, reason)
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        return None
    return target


def _copies(database: Path) -> list[Path]:
    return list((database.parent / FOLDER).glob(f"{database.stem}-*.sqlite"))


def _forget_old(database: Path) -> None:
    """Daily copies go by their date, the others by their age."""
    migrations = [copy for copy in _copies(database) if copy.stem.startswith(f"{database.stem}-schema-")]
    daily = [copy for copy in _copies(database) if copy not in migrations]
    for old in sorted(daily)[:-KEPT] + sorted(migrations, key=lambda copy: copy.stat().st_mtime)[:-KEPT]:
        old.unlink()
