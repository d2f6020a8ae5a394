"""Where a project's rows are: in a file of its folder, or on a PostgreSQL server. One interface, two ways.

Everything else of a project is files in its folder, either way. A folder whose rows are on a server holds
``server.json``, which says where.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine

from ..errors import ProjectError
from .copies import DATABASE_NAME as DATABASE_NAME
from .copies import advice
from .database import take_away as take_file_away
from .file_database import FileDatabase
from .server_address import address_of, stands_for_server
from .server_database import ServerDatabase, copied
from .soundness import Problem, connect_read_only, find_problems, problems_in


class Database(Protocol):
    """One open database.

    Attributes
    ----------
    engine : Engine
    path : Path
        The file in the project's folder that stands for it.
    place : str
        As a sentence names it after "kept in": ``/data/labels``, ``the database lab on server``.
    journal : str
        How a step is kept whole: ``wal`` or ``delete`` (a file), ``postgresql``.
    """

    engine: Engine
    path: Path
    place: str
    journal: str

    def prepare(self) -> None:
        """Bring the tables to what this program expects, and look whether they make sense.

        Raises
        ------
        ProjectError
            It cannot be reached, comes from a newer program, is something else or is damaged.
        """

    def explained(self) -> AbstractContextManager[None]:
        """Turn a database failure into a ProjectError that says what is safe and what to do."""

    def sensible(self) -> AbstractContextManager[None]:
        """Turn what Python says of a row that makes no sense into a ProjectError."""

    def was_replaced(self) -> bool:
        """Whether what was opened is another one now, which is connected to instead. Raises ProjectError: vanished."""


def connect(folder: Path, *, read_only: bool, create: bool) -> Database:
    """The database of the project in ``folder``, not looked at yet."""
    address = address_of(folder)
    if address is not None:
        return ServerDatabase(folder, address, read_only=read_only)
    return FileDatabase(folder, read_only=read_only, create=create)


def is_project(folder: Path) -> bool:
    """Whether a folder is a project's, or stands for a database on a server; no server is asked."""
    return (folder / DATABASE_NAME).is_file() or stands_for_server(folder)


def exists(folder: Path) -> bool:
    """Whether there is a project in ``folder``, or in the database that it stands for.

    Raises
    ------
    ProjectError
        The server cannot be asked.
    """
    address = address_of(folder)
    return (folder / DATABASE_NAME).is_file() if address is None else ServerDatabase.has_project(folder, address)


def refuse_missing(folder: Path) -> None:
    """Raises ProjectError where there is no project in ``folder``, or in the database that it stands for."""
    if exists(folder):
        return
    address = address_of(folder)
    if address is None:
        raise ProjectError(f"there is no project in {folder} (no {DATABASE_NAME})")
    raise ProjectError(
        f"there is no project yet in {address.where}; make it with 'cryoppp-annotator annotate MICROGRAPHS --project "
        f"{address.text}'"
    )


def check_rows(folder: Path) -> tuple[list[Problem], str, str]:
    """What is wrong with the rows of a project, all of which are looked at; nothing is changed.

    Returns
    -------
    problems : list of Problem
    name : str
        Of the database.
    advice : str
        What to do about problems.
    """
    address = address_of(folder)
    path = folder / DATABASE_NAME
    if address is None:
        return find_problems(path, deep=True), str(path), advice(path)
    refuse_missing(folder)
    with copied(folder, address) as rows:
        problems = problems_in(rows)
    what = f"run 'cryoppp-annotator recover {address.text} -o NEW-FOLDER' to save what is sound, or restore a backup"
    return problems, address.where, what


@contextmanager
def all_rows(folder: Path) -> Iterator[sqlite3.Connection]:
    """The rows of a project as SQLite has them, to read; a server's are copied.

    Raises
    ------
    ProjectError
        There is no project.
    sqlite3.Error
        The file cannot be read.
    """
    refuse_missing(folder)
    address = address_of(folder)
    if address is not None:
        with copied(folder, address) as rows:
            yield rows
        return
    with closing(connect_read_only(folder / DATABASE_NAME)) as rows:
        yield rows


def take_away(folder: Path, *, folder_too: bool) -> None:
    """Remove a database that was being made and could not be; what is on a server stays there and counts as none."""
    if address_of(folder) is None:
        take_file_away(folder / DATABASE_NAME, folder_too=folder_too)
