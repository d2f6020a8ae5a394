"""Makes scripted edits, 1,000 in all, in a child that somebody kills; one warm process forks them all.

A folder in which some of them were made (:meth:`Script.keep`) is gone on with. Reads lines ``FOLDER CURATOR SEED`` and
forks a child for each, which writes ``pid N``, then ``K`` for each edit after its verb returned, and ``end``; when it
is dead, the server writes ``dead``.
"""

from __future__ import annotations

import os
import pickle
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from project_tools import import_change, open_session

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.micrograph import MicrographState
from cryoppp_annotator.model.which import Which
from cryoppp_annotator.session.core.session import Session
from cryoppp_annotator.store.store import DATABASE_NAME

N_EDITS = 1000
_KEPT = "script.pickle"


class Script:
    """A seed's edits, each at most one transaction.

    Attributes
    ----------
    done : int
        How many were made.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = random.Random(seed)
        self.done, self._here = 0, 1
        if (folder / _KEPT).exists():
            self.done, self._here, state = pickle.loads((folder / _KEPT).read_bytes())
            self._rng.setstate(state)

    def run(self, session: Session) -> Iterator[int]:
        """Make the rest; yields the number of each that is confirmed."""
        session.go(self._here)
        while self.done < N_EDITS:
            _one(session, self._rng)
            self.done += 1
            yield self.done

    def keep(self, session: Session, folder: Path) -> None:
        """Write the project as it is now into ``folder``, so that another script goes on there."""
        folder.mkdir()
        name = DATABASE_NAME
        with (
            closing(sqlite3.connect(session.store.folder / name)) as now,
            closing(sqlite3.connect(folder / name)) as to,
        ):
            now.backup(to)
        assert session.current_id is not None
        (folder / _KEPT).write_bytes(pickle.dumps((self.done, session.current_id, self._rng.getstate())))


def _one(session: Session, rng: random.Random) -> None:
    # in the order of their ids: that in memory tells what happened since the window was opened
    some = rng.sample(sorted(session.particles.id.tolist()), k=min(len(session.particles), rng.randint(1, 5)))
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
        session.decide_where(Which(min_score=rng.random()), rng.choice(list(Decision)), Reason.ICE)
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
            for k in Script(Path(folder), int(seed)).run(session):
                _say(str(k))
            _say("end")
            os._exit(0)
        os.waitpid(child, 0)
        _say("dead")


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # unbuffered, and in one piece


if __name__ == "__main__":
    main()
