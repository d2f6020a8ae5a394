"""``kill -9`` in the middle of 1,000 edits, 50 times: what was confirmed is there, and nothing by halves."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue

import pytest
from kill_server import N_EDITS, Script
from project_tools import check_memory, integrity, new_project, open_session, query, replay, table

from cryoppp_annotator.store.store import DATABASE_NAME

REPETITIONS = 50
SEEDS = (1, 2)
#: Every so many edits the project is kept; four of five repetitions begin at the last such place before their death.
STRIDE = 100


def digest(folder: Path) -> str:
    """Of all that curators can change, but for the time at which a pick set was made."""
    with closing(sqlite3.connect(folder / DATABASE_NAME)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(pick_set)") if row[1] != "created"]
        held = [
            connection.execute(f"SELECT {what} ORDER BY 1").fetchall()
            for what in (
                "* FROM setting WHERE value <> 'null'",
                "* FROM micrograph",
                "* FROM particle",
                f"{', '.join(columns)} FROM pick_set",
            )
        ]
    return sha256(repr(held).encode()).hexdigest()


def start(folder: Path) -> Path:
    """A project all of whose micrographs were seen, so that each step of the script is one transaction at most."""
    session = open_session(new_project(folder), "setup")
    for micrograph in list(session.micrographs):
        session.go(micrograph.id)
    session.close()
    return folder


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """In memory where possible: a killed process, unlike a power cut, leaves the kernel's pages as they were."""
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="kill-", dir=base))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def expected(room: Path) -> dict[int, list[str]]:
    """For each seed the digest after each number of edits, none of them killed."""
    digests = {}
    start(room / "start")
    for seed in SEEDS:
        folder = shutil.copytree(room / "start", room / f"whole-{seed}")
        session, script = open_session(folder), Script(folder, seed)
        digests[seed] = [digest(folder)]
        for k in script.run(session):
            digests[seed].append(digest(folder))
            if k % STRIDE == 0:
                script.keep(session, room / f"after-{seed}-{k}")
        session.close()
    return digests


class Server:
    """The warm process, one line at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", str(Path(__file__).with_name("kill_server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._rest = b""

    def begin(self, folder: Path, seed: int) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder} ann {seed}\n".encode())
        return int(self.line().split()[1])

    def line(self) -> str:
        while b"\n" not in self._rest:
            self._read()
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def linger(self, seconds: float) -> None:
        """Wait for the next line, but not longer."""
        assert self._process.stdout is not None
        if b"\n" not in self._rest and select.select([self._process.stdout], [], [], seconds)[0]:
            self._read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        more = os.read(self._process.stdout.fileno(), 65536)
        assert more, "the server died"
        self._rest += more

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(300) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()


def run_and_kill(server: Server, folder: Path, seed: int, after: int, fraction: float) -> int:
    """Kill the child ``fraction`` of an edit after it confirmed edit number ``after``; returns the last confirmed."""
    confirmed = Script(folder, seed).done
    pid = server.begin(folder, seed)
    while confirmed < after:
        confirmed = int(server.line())
    server.linger(fraction * 0.003)
    os.kill(pid, signal.SIGKILL)
    while (line := server.line()) != "dead":
        if line != "end":
            confirmed = int(line)
    return confirmed


@pytest.mark.slow
def test_a_killed_program_has_lost_nothing(room: Path, expected: dict[int, list[str]]) -> None:
    rng = random.Random(20240607)
    moments = [(rng.randrange(N_EDITS), rng.random()) for _ in range(REPETITIONS)]
    servers: SimpleQueue[Server] = SimpleQueue()
    for _ in range(2):
        servers.put(Server())

    def repeat(number: int) -> bool | None:
        server = servers.get()
        seed = SEEDS[number % len(SEEDS)]
        begin = 0 if number % 5 == 0 else moments[number][0] // STRIDE * STRIDE
        source = room / f"after-{seed}-{begin}" if begin else room / "start"
        folder = shutil.copytree(source, room / f"killed-{number}")
        try:
            confirmed = run_and_kill(server, folder, seed, *moments[number])
        finally:
            servers.put(server)
        # As sqlite finds it, before our program has touched it again
        kept = digest(folder)
        before, after = expected[seed][confirmed], expected[seed][min(confirmed + 1, N_EDITS)]
        assert kept in (before, after), f"{number}: not the state after {confirmed} or {confirmed + 1} edits"
        look_after(folder, kept, expected[seed][0], all_the_way=number % 10 == 0)
        shutil.rmtree(folder)
        return None if before == after else kept == after

    # Two at a time: while one is looked at, another makes its edits.
    with ThreadPoolExecutor(2) as pool:
        in_flight = list(pool.map(repeat, range(REPETITIONS)))
    while not servers.empty():
        servers.get().close()
    # The moments of death lie on both sides of a commit, or this proves little.
    assert in_flight.count(False) > 5
    assert in_flight.count(True) > 0


def look_after(folder: Path, kept: str, first: str, *, all_the_way: bool) -> None:
    """Open the killed project: nothing is damaged, undo and redo work, and so does the next edit."""
    assert integrity(folder) == "ok"
    assert replay(folder) == table(folder, "particle")
    session = open_session(folder)
    session.go(1)
    check_memory(session)
    assert digest(folder) == kept

    steps = 0
    while (all_the_way or steps < 15) and session.undo() is not None:
        steps += 1
    check_memory(session)
    if all_the_way:
        assert digest(folder) == first
    for _ in range(steps):
        assert session.redo() is not None
    assert digest(folder) == kept
    check_memory(session)

    number = session.add(10, 10, anyway=True).new_id
    assert number in table(folder, "particle")
    handed_out = query(folder, "SELECT next FROM id_counter WHERE name = 'particle'")[0]["next"]
    assert number == handed_out - 1
    session.close()
    assert integrity(folder) == "ok"
