"""Makes 1,000 scripted edits in a child that somebody kills; one warm process forks them all.

Reads lines ``FOLDER CURATOR SEED`` and forks a child for each, which writes ``pid N``, then ``K`` for each edit after
its verb returned, and ``end``; when it is dead, the server writes ``dead``.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from project_tools import import_change, open_session

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.session.session import Session
from cryoppp_annotator.store.store import Selector

N_EDITS = 1000


def edits(session: Session, seed: int, n: int = N_EDITS) -> Iterator[int]:
    """Make the seed's edits, each at most one transaction; yields the number of each that is confirmed."""
    rng = random.Random(seed)
    for k in range(1, n + 1):
        _one(session, rng)
        yield k


def _one(session: Session, rng: random.Random) -> None:
    some = rng.sample(session.particles.id.tolist(), k=min(len(session.particles), rng.randint(1, 5)))
    x, y = rng.uniform(0, 4096), rng.uniform(0, 4096)
    what = rng.choices(
        ("add", "move", "decide", "where", "remove", "state", "setting", "import", "undo", "redo", "go"),
        (30, 15, 15, 4, 3, 3, 2, 2, 12, 6, 5),
    )[0]
    if what == "add":
        session.add(x, y, anyway=True)
    elif what == "move":
        session.move(some, [x + k for k in range(len(some))], y)
    elif what == "decide":
        session.decide(some, rng.choice(list(Decision)), rng.choice(list(Reason)))
    elif what == "where":
        session.decide_where(Selector(min_score=rng.random()), rng.choice(list(Decision)), Reason.ICE)
    elif what == "remove":
        session.remove(some)
    elif what == "state":
        ids = [m.id for m in session.micrographs]
        finished = [MicrographState.COMPLETE, MicrographState.EMPTY, MicrographState.IN_PROGRESS]
        session.set_state(rng.sample(ids, rng.randint(1, len(ids))), rng.choice(finished))
    elif what == "setting":
        session.set_diameter(rng.uniform(50, 500))
    elif what == "import":
        n = rng.randint(1, 30)
        where = [rng.choice(session.micrographs).id for _ in range(n)]
        session.insert(import_change(where, [x] * n, [y] * n, [rng.random() for _ in range(n)]))
    elif what == "go":
        session.go(rng.choice(session.micrographs).id)
    else:
        session.undo() if what == "undo" else session.redo()


def main() -> None:
    for line in sys.stdin:
        folder, curator, seed = line.split()
        child = os.fork()
        if child == 0:
            _say(f"pid {os.getpid()}")
            session = open_session(Path(folder), curator)
            session.go(1)
            for k in edits(session, int(seed)):
                _say(str(k))
            _say("end")
            os._exit(0)
        os.waitpid(child, 0)
        _say("dead")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # unbuffered, and in one piece


if __name__ == "__main__":
    main()
