"""A project's database on a PostgreSQL server.

One writer at a time, as with a file: a write transaction begins with an advisory lock of the database, which the server
gives back when the transaction or the program ends, however it ends. What is read in one transaction is of one moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import ProjectError
from . import schema
from .database import LOCK_TIMEOUT_S, MIGRATING, MIGRATIONS, current_revision, known_revisions
from .server_address import SERVER_NAME, ServerAddress, keep_address
from .soundness import LARGE_TABLES, Problem, problems_in

#: Of the advisory lock that a writer holds; a database holds one project.
_LOCK = 0x63_72_79_6F
#: Seconds to wait for a server that does not answer.
_PATIENCE_S = 5
#: A program that stands still in the middle of a step loses its place after so long.
_STANDSTILL = "10min"
_PIECE = 5_000
_SAFE = "Nothing was changed; everything confirmed before is safe."
#: How psycopg takes what the network and the server do: noticed within half a minute.
_OPTIONS = {
    "connect_timeout": _PATIENCE_S,
    "application_name": "cryoppp-annotator",
    "client_encoding": "utf8",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class ServerDatabase:
    """See :class:`~cryoppp_annotator.store.connecting.Database`."""

    journal = "postgresql"

    def __init__(self, folder: Path, address: ServerAddress, *, read_only: bool) -> None:
        self.path = folder / SERVER_NAME
        self.place = address.where
        self._folder, self._address, self._read_only = folder, address, read_only
        self.engine = _make_engine(address, read_only=read_only)

    @staticmethod
    def has_project(folder: Path, address: ServerAddress) -> bool:
        """Whether there is one with a history. Raises ProjectError where the server does not answer."""
        database = ServerDatabase(folder, address, read_only=True)
        try:
            with database.explained(), database.engine.connect() as connection:
                # of an older or newer program, or something else: opening it says so
                if current_revision(connection) != schema.HEAD:
                    return bool(inspect(connection).get_table_names())
                return connection.execute(select(schema.change.c.id).limit(1)).first() is not None
        finally:
            database.engine.dispose()

    def prepare(self) -> None:
        """Migrate, look for damage, keep the address in the folder."""
        with self.explained():
            _migrate(self.engine, self._address, read_only=self._read_only)
            with self.engine.connect() as connection:
                problems = problems_on_server(connection, large_tables=False)
        if problems:
            raise ProjectError(
                f"the project in {self.place} is damaged: {problems[0]} (cryoppp-annotator doctor {self._address.text} "
                "lists all); restore the server's last backup"
            )
        keep_address(self._folder, self._address)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """What the server and the network say, in words."""
        try:
            yield
        except SQLAlchemyError as error:
            raise ProjectError(_explain(error, self._address)) from error

    @contextmanager
    def sensible(self) -> Iterator[None]:
        """What Python says of a row, in words."""
        try:
            yield
        except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
            reason = str(error)[:120] or type(error).__name__
            raise ProjectError(
                f"the project in {self.place} is damaged: a row makes no sense ({reason}); "
                f"'cryoppp-annotator doctor {self._address.text}' names it"
            ) from error

    def was_replaced(self) -> bool:
        """Never: what was deleted on a server is gone, and says so."""
        return False


def _make_engine(address: ServerAddress, *, read_only: bool) -> Engine:
    try:
        engine = create_engine(address.url, connect_args=_OPTIONS, pool_size=4, max_overflow=8, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise ProjectError(
            "projects on a PostgreSQL server need psycopg: pip install 'cryoppp-annotator[server]'"
        ) from None

    @event.listens_for(engine, "connect")
    def _prepare(driver: Any, _record: object) -> None:
        with driver.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{round(1000 * LOCK_TIMEOUT_S)}ms'")
            cursor.execute(f"SET idle_in_transaction_session_timeout = '{_STANDSTILL}'")
            if read_only:
                cursor.execute("SET default_transaction_read_only = on")
        driver.commit()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes", False):
            # read committed: what is read after the lock is what the last writer left
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        else:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    return engine


def _migrate(engine: Engine, address: ServerAddress, *, read_only: bool) -> None:
    with engine.connect() as connection:
        (encoding,) = connection.exec_driver_sql("SHOW server_encoding").one()
        revision = current_revision(connection)
        foreign = revision is None and bool(inspect(connection).get_table_names())
    if encoding != "UTF8":
        raise ProjectError(f"{address.where} keeps text as {encoding}; make it with createdb --encoding UTF8")
    if revision == schema.HEAD:
        return
    if foreign:
        raise ProjectError(f"{address.where} holds tables of something else; it was left alone. Make one of its own")
    if revision is not None and revision not in known_revisions():
        raise ProjectError(
            f"{address.where} was made by a newer CryoPPP Annotator (schema {revision}); update the program to open it"
        )
    if read_only:
        raise ProjectError(
            f"{address.where} has an older schema ({revision}) and is opened read-only; open it once to change it"
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if current_revision(connection) == schema.HEAD:
            return  # somebody else was faster
        config.attributes["connection"] = connection
        with MIGRATING:
            command.upgrade(config, "head")


# --- is it sound? ----------------------------------------------------------------------------------------------------


def problems_on_server(connection: Connection, *, large_tables: bool) -> list[Problem]:
    """As :func:`~cryoppp_annotator.store.soundness.problems_in`, which looks at a copy.

    The server itself sees to types and references.
    """
    tables = [table for table in schema.metadata.sorted_tables if large_tables or table.name not in LARGE_TABLES]
    with closing(sqlite3.connect("")) as copy:  # in memory while it is small, else in a file that nobody sees
        _copy_rows(connection, copy, [table.name for table in tables])
        return problems_in(copy, large_tables=large_tables)


@contextmanager
def copied(folder: Path, address: ServerAddress) -> Iterator[sqlite3.Connection]:
    """All rows of a project on a server, as a file of one has them. Raises ProjectError."""
    database = ServerDatabase(folder, address, read_only=True)
    try:
        with closing(sqlite3.connect("")) as copy:
            with database.explained(), database.engine.connect() as connection:
                _copy_rows(connection, copy, [table.name for table in schema.metadata.sorted_tables])
            yield copy
    finally:
        database.engine.dispose()


def _copy_rows(connection: Connection, copy: sqlite3.Connection, names: Sequence[str]) -> None:
    for name in names:
        table = schema.metadata.tables[name]
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        copy.execute(f'CREATE TABLE "{name}" ({columns})')
        marks = ", ".join("?" * len(table.columns))
        result = connection.execute(select(table), execution_options={"stream_results": True})
        while rows := result.fetchmany(_PIECE):
            copy.executemany(f'INSERT INTO "{name}" VALUES ({marks})', [tuple(row) for row in rows])
    copy.commit()


# --- what went wrong -------------------------------------------------------------------------------------------------


def _explain(error: Exception, address: ServerAddress) -> str:
    original = getattr(error, "orig", None) or error
    text = str(original).strip().split("\n")[0]
    name = address.url.username or "you"
    by_state = {
        "3D000": _no_database(address),
        "28P01": f"{address.host} does not know {name} with this password; {_PASSWORD}",
        "55P03": f"another program holds {address.where}. {_SAFE} Try again, or close the other window",
        "42501": (
            f"{name} may not do that in {address.where} ({text}). {_SAFE} Its owner gives the right with GRANT, or "
            "everybody opens it under one name"
        ),
        "53100": f"the disk of {address.host} is full. {_SAFE} Have some space freed there and repeat the step",
        "25006": f"{address.where} cannot be written now ({text}). {_SAFE}",
        "53300": f"{address.host} takes no more connections ({text}). {_SAFE} Close some windows",
    }
    known = by_state.get(str(getattr(original, "sqlstate", None)))
    if known is None:
        known = next((message for sign, message in _by_text(address, text) if sign in text.lower()), None)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if known is None and (lost or str(getattr(original, "sqlstate", "")).startswith(("57P", "08"))):
        known = (
            f"the connection to {address.host} was lost ({text}). Everything confirmed before is safe; the step that "
            "was on its way was kept whole or not at all, which shows when the server is back"
        )
    return known or f"{address.where}: {text}. {_SAFE}"


_PASSWORD = "put it into ~/.pgpass or PGPASSWORD, or into the address (NAME:PASSWORD@HOST)"


def _no_database(address: ServerAddress) -> str:
    host, name = address.host, address.database
    return f"there is no database {name} on {host}; make it with 'createdb -h {host} {name}'"


def _by_text(address: ServerAddress, text: str) -> Iterator[tuple[str, str]]:
    """Signs of what libpq says before there is a connection, and what is said of them."""
    host, name = address.host, address.url.username or "you"
    place = f"{host}, port {address.url.port}" if address.url.port else host
    yield "password authentication failed", f"{host} does not know {name} with this password; {_PASSWORD}"
    yield "no password supplied", f"{host} asks {name} for a password; {_PASSWORD}"
    yield "role", f"{host} does not know {name} ({text})"
    yield "pg_hba.conf", f"{host} does not let {name} in from this machine ({text}); its pg_hba.conf says who may"
    yield f'database "{address.database.lower()}" does not exist', _no_database(address)
    for sign in ("resolve host", "translate host name", "name or service not known"):
        yield sign, f"no machine is called {host}; check the address {address.text}"
    for sign in ("connection refused", "no such file", "timeout expired", "timed out", "starting up", "no route"):
        yield sign, f"no PostgreSQL server answers on {place} ({text}). {_SAFE} Is it running?"
    yield "invalid connection option", f"{address.text} is no address that PostgreSQL takes ({text})"
    yield "invalid uri", f"{address.text} is no address that PostgreSQL takes ({text})"
