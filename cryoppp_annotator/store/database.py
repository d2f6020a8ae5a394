"""Opening the SQLite database; every failure becomes a sentence that says what a curator can do."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from ..errors import ProjectError
from . import schema
from .copies import advice, keep_before_migration
from .journal import Journal, choose, reading_uri
from .soundness import connect_read_only, find_programs, problems_in

#: Seconds an edit waits for another window's transaction before it is refused.
LOCK_TIMEOUT_S = 3.0
#: How long SQLite itself waits before an edit asks again, ms. Left alone it soon asks ten times a second only, and
#: misses the moments in which a program that writes one step after the other lets go.
_ASK_AGAIN_MS = 20

#: Alembic keeps the migration it runs in a global.
MIGRATING = threading.Lock()
MIGRATIONS = Path(__file__).parent / "migrations"


def make_engine(path: Path, *, read_only: bool = False, create: bool = False) -> Engine:
    """An engine for the SQLite file ``path``; writes begin IMMEDIATE so that two windows queue instead of failing.

    Parameters
    ----------
    path : Path
    read_only : bool
        Open without the right to write, also from a folder that cannot be written.
    create : bool
        Make the file; without it a file that is gone is an error, not an empty project.
    """

    journal: Journal | None = None
    opening = threading.Lock()  # connections of one process decide once

    def connect() -> sqlite3.Connection:
        nonlocal journal
        if read_only:
            uri = reading_uri(path, LOCK_TIMEOUT_S)
        else:
            with opening:
                if journal is None:
                    journal = choose(path, create=create, timeout_s=LOCK_TIMEOUT_S)
            uri = f"{path.resolve().as_uri()}?mode={'rwc' if create else 'rw'}"
        connection = sqlite3.connect(
            uri, uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA cache_size=-16384")
        if not read_only:
            # FULL: a confirmed edit survives a power cut, not only a crash.
            connection.execute("PRAGMA synchronous=FULL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=4, max_overflow=8)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes", False):
            _begin_immediate(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _begin_immediate(connection: Connection) -> None:
    """Begin a write transaction; while another program holds the database, ask often, for :data:`LOCK_TIMEOUT_S`."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    limit = time.monotonic() + LOCK_TIMEOUT_S
    driver.execute(f"PRAGMA busy_timeout={_ASK_AGAIN_MS}")
    try:
        while time.monotonic() < limit:
            try:
                driver.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # so that SQLAlchemy meets what is wrong
    finally:
        driver.execute(f"PRAGMA busy_timeout={round(1000 * LOCK_TIMEOUT_S)}")


def migrate(engine: Engine, path: Path, *, read_only: bool = False) -> None:
    """Bring the database to :data:`schema.HEAD`.

    Raises
    ------
    ProjectError
        It comes from a newer program, is something else, or would have to be changed and is read-only.
    """
    with engine.connect() as connection:
        programs = find_programs(connection.connection)
        if programs:
            raise ProjectError(
                f"{path} holds {programs[0]}, which this program never makes; it was not opened. Ask the person "
                "who made the project what it is for"
            )
        revision = current_revision(connection)
        foreign = revision is None and bool(inspect(connection).get_table_names())
    if revision == schema.HEAD:
        return
    if foreign:
        raise ProjectError(f"{path} is a database, but not one of CryoPPP Annotator; it was left alone")
    if revision is not None and revision not in known_revisions():
        raise ProjectError(
            f"{path} was made by a newer CryoPPP Annotator (schema {revision}); update the program to open it"
        )
    if read_only and revision is None:
        raise ProjectError(
            f"{path} is empty: the program that was making this project was ended before it could. Delete it, or open "
            "it once where it can be written"
        )
    if read_only:
        raise ProjectError(
            f"{path} has an older schema ({revision}) and is read-only; open it once where it can be written"
        )
    if revision is not None:
        keep_before_migration(path, revision)
    # imported here: a project that is up to date opens without, a fifth of a second sooner
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        revision = current_revision(connection)
        if revision == schema.HEAD:
            return
        config.attributes["connection"] = connection
        with MIGRATING:
            command.upgrade(config, "head")


def take_away(path: Path, *, folder_too: bool) -> None:
    """Remove a database that was being made and could not be: an empty one would be taken for a project.

    ``folder_too`` says that its folder was made for it, and goes where nothing else is in it.
    One that holds micrographs (another process has made it meanwhile) or cannot be looked into stays.
    """
    try:
        if path.stat().st_size:
            with closing(connect_read_only(path)) as connection:
                tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master")}
                if "micrograph" in tables and connection.execute("SELECT 1 FROM micrograph").fetchone():
                    return
    except (OSError, sqlite3.Error):
        return
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    if folder_too:
        with contextlib.suppress(OSError):  # something else is in it
            path.parent.rmdir()


def refuse_damage(engine: Engine, path: Path) -> None:
    """Look whether the small tables make sense, before anything is built from them.

    Raises
    ------
    ProjectError
        They do not; it names table, row and column, and a way on.
    """
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        problems = problems_in(raw, large_tables=False)
    if problems:
        more = f" (and {len(problems) - 1} more: cryoppp-annotator doctor {path.parent})" if len(problems) > 1 else ""
        raise ProjectError(f"{path} is damaged: {problems[0]}{more}; {advice(path)}")


def known_revisions() -> set[str]:
    """Schemas that this program knows how to bring to its own."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}


def current_revision(connection: Connection) -> str | None:
    """The schema revision stored in the database; None in an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def journal_of(engine: Engine) -> str:
    """How the open database keeps a step whole: ``wal`` or ``delete`` (the rollback journal)."""
    with engine.connect() as connection:
        return str(connection.execute(text("PRAGMA journal_mode")).scalar_one())


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a database failure into a :class:`ProjectError` that says what is safe and what to do."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, UnicodeDecodeError) as error:
        raise ProjectError(_explain(error, path)) from error


@contextmanager
def sensible(path: Path) -> Iterator[None]:
    """Turn what Python says of a value that makes no sense, while rows are read, into a :class:`ProjectError`."""
    try:
        yield
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        reason = str(error)[:120] or type(error).__name__
        raise ProjectError(
            f"{path} is damaged: a row makes no sense ({reason}); 'cryoppp-annotator doctor {path.parent}' names it, "
            f"and you can {advice(path)}"
        ) from error


def _explain(error: Exception, path: Path) -> str:
    original: Any = getattr(error, "orig", None) or error
    # what SQLite says of damaged tables holds their bytes, which Python may not be able to read
    text = "malformed tables" if isinstance(original, UnicodeDecodeError) else str(original)
    low = text.lower()
    safe = "Nothing was changed; everything confirmed before is safe."
    if "locked" in low or "busy" in low:
        return f"another program holds {path.name} ({path.parent}). {safe} Try again, or close the other window."
    if "unable to open" in low and not path.exists():
        return f"{path} has vanished (disk unplugged, folder moved?). {safe} Bring the folder back and repeat the step."
    if "out of memory" in low:
        return f"there is not enough free memory for {path.name}. {safe} Close other programs, or raise the limit."
    if "full" in low:
        return f"the disk of {path.parent} is full. {safe} Free some space and repeat the step."
    if "readonly" in low or "read-only" in low:
        return f"{path} cannot be written. {safe} Make the folder writable, or use --project elsewhere."
    if "not a database" in low or "malformed" in low:
        return f"{path} is not a readable project database ({text}). The images are untouched; {advice(path)}."
    if isinstance(error, OperationalError | DatabaseError | sqlite3.Error):
        return f"{path}: {text}. {safe} Check that the disk is still there."
    return f"{path}: {text}. {safe}"
