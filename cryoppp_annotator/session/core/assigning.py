"""Whose micrographs are whose: who is to do which, as a step that can be undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import Refused
from ...model.micrograph import FINISHED_STATES
from . import edits
from .session import Session

#: A longer name is none.
_LONGEST = 64


def assign(session: Session, micrographs: Sequence[int], curator: str) -> None:
    """Give micrographs (ids) to a curator; empty = to nobody in particular. Raises Refused: that is no name."""
    name = " ".join(curator.split())
    if len(name) > _LONGEST or not name.isprintable():
        raise Refused(f"a curator's name has at most {_LONGEST} characters, none of them a sign that is not printed")
    session.edit(lambda: edits.assign([session.micrograph(i) for i in micrographs], name))


def curators(session: Session) -> list[str]:
    """Names that micrographs may be given to: this one's first, then who has micrographs, picks or steps."""
    known = {m.assigned for m in session.micrographs} | {m.state_by for m in session.micrographs}
    known |= {one.curator for one in session.pick_sets.values()} | {line.curator for line in session.history()}
    return [session.curator, *sorted(known - {session.curator, ""}, key=str.casefold)]


@dataclass(frozen=True, slots=True)
class Share:
    """Whose micrographs, how many, and how many of them are finished."""

    curator: str
    micrographs: int
    finished: int


def shares(session: Session) -> list[Share]:
    """What each curator has to do, by name; empty where nothing is assigned. Those of nobody come last, as ``""``."""
    every = Counter(m.assigned for m in session.micrographs)
    if not set(every) - {""}:
        return []
    done = Counter(m.assigned for m in session.micrographs if m.state in FINISHED_STATES)
    return [
        Share(name, every[name], done[name]) for name in sorted(every, key=lambda name: (not name, name.casefold()))
    ]
