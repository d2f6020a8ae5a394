"""One curator of a project on a server, as a program of its own: edits without a pause, each said once it is confirmed.

``server_curator.py ADDRESS CURATOR N_EDITS``; a line ``VERB PICK X Y DECISION`` for each, and ``end``.
"""

from __future__ import annotations

import os
import random
import sys

from project_tools import open_session

from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.session.core.server_projects import folder_of

#: Of all curators: where one writes, another does, too.
SHARED = (1, 2, 3)


def edit(address: str, curator: str, n_edits: int) -> None:
    """Add picks, move them, decide about them and about those that all have, and set what there is one of."""
    rng = random.Random(curator)
    session = open_session(folder_of(address), curator)
    session.go(1)
    mine: dict[int, tuple[float, float]] = {}
    for k in range(n_edits):
        verb = rng.choices(("add", "move", "decide", "shared", "setting"), (4, 3, 3, 1, 1))[0] if mine else "add"
        x, y = rng.uniform(0, 4000), rng.uniform(0, 4000)
        pick, decision = rng.choice(list(mine or SHARED)), rng.choice((Decision.ACCEPTED, Decision.REJECTED))
        if verb == "add":
            pick = session.add(x, y, anyway=True).new_id
            mine[pick] = x, y
        elif verb == "move":
            session.move([pick], [x], y)
            mine[pick] = x, y
        elif verb == "decide":
            session.decide([pick], decision, Reason.ICE if decision is Decision.REJECTED else Reason.NONE)
        elif verb == "shared":
            session.decide([rng.choice(SHARED)], rng.choice(list(Decision)))
        else:
            session.set_diameter(100 + 0.1 * k)
        say(f"{verb} {pick} {mine[pick][0]!r} {mine[pick][1]!r} {int(decision)}")
    session.close()
    say("end")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # unbuffered, and in one piece


if __name__ == "__main__":
    edit(sys.argv[1], sys.argv[2], int(sys.argv[3]))
