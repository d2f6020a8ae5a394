"""Four curators of one project on a PostgreSQL server at once, one of them killed: speed, and whether anything is lost.

    .venv/bin/python benchmarks/server.py [--edits 1000]

Each is a program that edits without a pause; a person makes one edit a second. The server is a real one (Debian's
package), on this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "integration")]

from postgres_server import PostgresServer, why_not  # noqa: E402
from project_tools import import_change, new_project, open_session, query, replay, table  # noqa: E402

from cryoppp_annotator.session.core.server_projects import folder_of  # noqa: E402
from cryoppp_annotator.store.recover import recover  # noqa: E402

CURATORS = ("ann", "bob", "cleo", "dora")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--edits", type=int, default=1000, help="of each curator")
    n_edits = parser.parse_args().edits
    if why := why_not():
        sys.exit(why)
    server = PostgresServer()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CRYOPPP_ANNOTATOR_HOME"] = scratch
        try:
            measure(server, n_edits, Path(scratch))
        finally:
            server.close()


def measure(server: PostgresServer, n_edits: int, scratch: Path) -> None:
    address = server.new_database("lab")
    session = open_session(new_project(folder_of(address)), "setup")
    session.go(1)
    session.insert(import_change([1] * 3, [10, 20, 30], [10, 20, 30], [0.1, 0.2, 0.3], "setup"))
    begun = time.perf_counter()
    for k in range(200):
        session.add(k, 3000, anyway=True)
    alone_ms = (time.perf_counter() - begun) / 200 * 1000
    session.close()

    script = str(TESTS / "integration" / "server_curator.py")
    begun = time.perf_counter()
    programs = {
        name: subprocess.Popen([sys.executable, script, address, name, str(n_edits)], stdout=subprocess.PIPE, text=True)
        for name in CURATORS
    }
    killed = programs["dora"]
    assert killed.stdout is not None
    confirmed = {"dora": [killed.stdout.readline() for _ in range(n_edits // 2)]}
    killed.send_signal(signal.SIGKILL)
    for name, program in programs.items():
        confirmed.setdefault(name, []).extend(program.communicate()[0].splitlines())
    seconds = time.perf_counter() - begun
    report = recover(folder_of(address), scratch / "home-again")
    assert not any(report.lost.values())
    kept, folder = table(scratch / "home-again", "particle"), scratch / "home-again"
    made = Counter(
        (row["curator"], row["verb"]) for row in query(folder, "SELECT curator, verb FROM change WHERE kind = 'do'")
    )
    print(f"one curator alone: {alone_ms:.1f} ms an edit; four at once: {seconds:.0f} s in all")
    print(f"the history gives the present state: {replay(folder) == kept}")
    print("| curator | confirmed | moved or added picks lost | additions more than confirmed |")
    print("|---|---|---|---|")
    for name in CURATORS:
        lines = [line.split() for line in confirmed[name] if not line.startswith("end")]
        last = {int(pick): (float(x), float(y)) for _verb, pick, x, y, _decision in lines}
        lost = sum((kept[pick]["x"], kept[pick]["y"]) != at for pick, at in last.items())
        more = made[name, "add"] - sum(line[0] == "add" for line in lines)
        print(f"| {name}{' (killed)' if name == 'dora' else ''} | {len(lines):,} | {lost} | {more} |")


if __name__ == "__main__":
    main()
