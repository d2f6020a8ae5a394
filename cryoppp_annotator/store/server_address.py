"""The address of a project's database on a PostgreSQL server, and the file that keeps it; never the password."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ProjectError
from .home import home

#: In the project's folder.
SERVER_NAME = "server.json"
_DRIVER = "postgresql+psycopg"
_BEGINS = re.compile(r"postgres(ql)?://")
_EXAMPLE = "postgresql://NAME@HOST/DATABASE"


@dataclass(frozen=True)
class ServerAddress:
    """Where a database is, and who opens it.

    Attributes
    ----------
    url : URL
        As SQLAlchemy takes it, with the password where one was given.
    """

    url: URL

    @property
    def text(self) -> str:
        """As a person writes it, without the password."""
        u = self.url
        bare = URL.create("postgresql", u.username, None, u.host, u.port, u.database, u.query)
        return bare.render_as_string(hide_password=False)

    @property
    def host(self) -> str:
        """The machine, or the folder of its socket."""
        given = self.url.host or self.url.query.get("host") or "this machine"
        return given if isinstance(given, str) else given[0]

    @property
    def database(self) -> str:
        """The database's name."""
        return self.url.database or ""

    @property
    def short(self) -> str:
        """In few words."""
        return f"{self.database} on {self.host}"

    @property
    def where(self) -> str:
        """As a sentence names it."""
        return f"the database {self.database} on {self.host}"

    @property
    def tag(self) -> str:
        """A name for files: the same for everybody who opens this database."""
        place = f"{self.host}:{self.url.port or self.url.query.get('port') or 5432}/{self.database}"
        return f"{self.database}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def is_address(text: str) -> bool:
    """Whether a text is a server's address and no path."""
    return _BEGINS.match(text) is not None


def parse_address(text: str) -> ServerAddress:
    """An address as a person writes it. Raises ProjectError where it is none."""
    shown = re.sub(r"(//[^/@:]*):[^@]*@", r"\1:…@", text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise ProjectError(f"{shown} is no address of a database; write {_EXAMPLE}") from error
    if not url.database or re.search(r"[\\/\0]", url.database):
        raise ProjectError(f"{shown} names no database; write {_EXAMPLE}")
    return ServerAddress(url.set(drivername=_DRIVER))


#: At home, in a folder of each server's database: the address as its user wrote it, without the password.
_NAMED = "named.json"
#: Addresses that were given in this process, with their passwords, by the folder that stands for them.
_GIVEN: dict[Path, ServerAddress] = {}


def stand_for(folder: Path, address: ServerAddress) -> None:
    """From now on ``folder`` means the database at ``address``; it is written there when it was reached."""
    kept = _kept_in(folder)
    if kept is not None and kept.tag != address.tag:
        raise ProjectError(f"{folder} holds the files of {kept.where}; choose another folder with --files")
    _GIVEN[folder.absolute()] = address
    named = _named(address)
    with contextlib.suppress(OSError):  # then the folder alone does not stand for it next time
        named.parent.mkdir(parents=True, exist_ok=True)
        _write(named, address)


def address_of(folder: Path) -> ServerAddress | None:
    """The database that a folder stands for; None where its rows are its own.

    A folder may come from somebody else: the server that it names is asked only where this user has named it before,
    and then as this user wrote it.

    Raises
    ------
    ProjectError
        The file is damaged, or names a server that this user has never named.
    """
    given = _GIVEN.get(folder.absolute())
    kept = _kept_in(folder) if given is None else None
    if kept is None:
        return given
    named = _read(_named(kept))
    if named is None:
        raise ProjectError(
            f"{folder} stands for {kept.where}, which you have not opened on this machine before, so it was not asked. "
            f"If you trust that server, open it by its address: {kept.text}"
        )
    return named


def stands_for_server(folder: Path) -> bool:
    """Whether a folder's rows are on a server."""
    return folder.absolute() in _GIVEN or (folder / SERVER_NAME).is_file()


def keep_address(folder: Path, address: ServerAddress) -> None:
    """Write where the rows are, without the password. Raises ProjectError."""
    if _kept_in(folder) is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / SERVER_NAME, address)
    except OSError as error:
        raise ProjectError(f"{folder}, where the project's files go, cannot be written ({error.strerror})") from error


def _named(address: ServerAddress) -> Path:
    return home() / "servers" / address.tag / _NAMED


def _write(path: Path, address: ServerAddress) -> None:
    path.write_text(json.dumps({"address": address.text}, indent=1) + "\n", encoding="utf-8")


def _kept_in(folder: Path) -> ServerAddress | None:
    return _read(folder / SERVER_NAME)


def _read(path: Path) -> ServerAddress | None:
    if not path.is_file():
        return None
    try:
        return parse_address(str(json.loads(path.read_text(encoding="utf-8"))["address"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{path} does not say where the project's database is ({error}); delete it") from error
