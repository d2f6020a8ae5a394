"""A PostgreSQL server of Debian's package, in a folder of its own, on a socket; for tests and the benchmark."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

#: PostgreSQL refuses to run as root; Debian's package makes this user.
_USER = "postgres"
_PASSWORD = "open sesame"


def programs() -> Path | None:
    """The folder of ``initdb`` and ``postgres``; None where the package is not installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return installed[-1].parent if installed else Path(on_path).parent if on_path else None


def why_not() -> str:
    """Why there can be no server here; empty where there can."""
    if programs() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql)"
    if os.getuid() == 0 and subprocess.run(["id", _USER], capture_output=True, check=False).returncode:
        return f"PostgreSQL does not run as root, and there is no user {_USER}"
    return ""


class PostgresServer:
    """One that runs; :meth:`close` ends it and removes its files.

    Attributes
    ----------
    folder : Path
        Of its socket.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path has 107 characters at most
        self.folder.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(self.folder, _USER)
        (self.folder / "password").write_text(_PASSWORD)
        bin_folder = programs()
        assert bin_folder is not None
        self._bin = bin_folder
        self._server: subprocess.Popen[bytes] | None = None
        self._run("initdb", "-D", self._data, "-U", "ann", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()
        for name in ("bob", "cleo", "dora"):
            self.sql(f"CREATE ROLE {name} LOGIN SUPERUSER")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _command(self, *words: str) -> tuple[list[str], dict[str, str]]:
        """As the server's user, whose environment has no address of another server."""
        as_user = ["runuser", "-u", _USER, "--"] if os.getuid() == 0 else []
        bare = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return [*as_user, *words], {**bare, "LC_ALL": "C"}

    def _run(self, program: str, *words: str) -> str:
        command, environment = self._command(str(self._bin / program), *words)
        ran = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=60"
        self._run("pg_ctl", "-D", self._data, "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, *, at_once: bool = False) -> None:
        """Stop it; ``at_once`` = as a power cut does."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate" if at_once else "fast", "-w", "stop")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What the server answers, as psql prints it."""
        return self._run("psql", "-h", str(self.folder), "-U", "ann", "-d", database, "-At", "-c", statement).strip()

    def address(self, database: str, user: str = "ann") -> str:
        """Of a database, as a person writes it."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def new_database(self, name: str) -> str:
        """Make one; returns its address."""
        self.sql(f"CREATE DATABASE {name}")
        return self.address(name)

    def ask_for_passwords(self) -> str:
        """From now on nobody comes in without; returns the password of everybody."""
        self.sql(f"SET password_encryption = 'scram-sha-256'; ALTER ROLE bob PASSWORD '{_PASSWORD}'")
        rules = Path(self._data) / "pg_hba.conf"
        rules.write_text("local all bob scram-sha-256\n" + rules.read_text())
        self.sql("SELECT pg_reload_conf()")
        return _PASSWORD

    def close(self) -> None:
        """End it, and remove its files."""
        if (Path(self._data) / "postmaster.pid").exists():
            self.stop(at_once=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def server_of_tests() -> Iterator[PostgresServer]:
    """What a fixture yields; skips where there can be none, but not in CI, whose set-up has installed it."""
    if (why := why_not()) and "CI" not in os.environ:
        pytest.skip(why)
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'cryoppp-annotator[server]')")
    running = PostgresServer()
    yield running
    running.close()
