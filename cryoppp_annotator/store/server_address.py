"""The address of a project's database on a PostgreSQL server, and the file that keeps it; never the password."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..errors import ProjectError

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


#: Addresses that were given in this process, with their passwords, by the folder that stands for them.
_GIVEN: dict[Path, ServerAddress] = {}


def stand_for(folder: Path, address: ServerAddress) -> None:
    """From now on ``folder`` means the database at ``address``; it is written there when it was reached."""
    kept = _kept_in(folder)
    if kept is not None and kept.tag != address.tag:
        raise ProjectError(f"{folder} holds the files of {kept.where}; choose another folder with --files")
    _GIVEN[folder.absolute()] = address


def address_of(folder: Path) -> ServerAddress | None:
    """The database that a folder stands for; None where its rows are its own. Raises ProjectError: a damaged file."""
    return _GIVEN.get(folder.absolute()) or _kept_in(folder)


def stands_for_server(folder: Path) -> bool:
    """Whether a folder's rows are on a server."""
    return folder.absolute() in _GIVEN or (folder / SERVER_NAME).is_file()


def keep_address(folder: Path, address: ServerAddress) -> None:
    """Write where the rows are, without the password. Raises ProjectError."""
    if _kept_in(folder) is not None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SERVER_NAME).write_text(json.dumps({"address": address.text}, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ProjectError(f"{folder}, where the project's files go, cannot be written ({error.strerror})") from error


def _kept_in(folder: Path) -> ServerAddress | None:
    path = folder / SERVER_NAME
    if not path.is_file():
        return None
    try:
        return parse_address(str(json.loads(path.read_text(encoding="utf-8"))["address"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(f"{path} does not say where the project's database is ({error}); delete it") from error
