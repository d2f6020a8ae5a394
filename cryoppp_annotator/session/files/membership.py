"""Micrographs that leave the project, come back, or are deleted for good. Each is one step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Refused
from ...model.curation import Change, Delta, Kind, Table
from ...model.message import Message
from ...model.micrograph import Micrograph, MicrographState
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Step
from .changed import removed_rows

#: Setting: state, and by whom, of each removed micrograph before it was removed, by id.
HAD = "removed_micrographs"


def remove(session: Session, micrographs: Iterable[int]) -> int:
    """Take micrographs out of the project; their decisions are kept. Returns how many.

    They are not shown, walked to, proposed on, classified, counted or exported, until :func:`bring_back`.
    """
    chosen = [m for i in dict.fromkeys(micrographs) if i not in session.removed and (m := session.micrograph(i))]
    if not chosen:
        raise Refused("choose the micrographs to remove first")
    session.insert_built(lambda: _taken_out(session, [m.id for m in chosen]))
    return len(chosen)


def bring_back(session: Session, micrographs: Iterable[int] | None = None) -> int:
    """Put removed micrographs (all by default) back as they were, with their decisions. Returns how many."""
    ids = list(session.removed) if micrographs is None else list(dict.fromkeys(micrographs))
    chosen = [session.removed[i] for i in ids if i in session.removed]
    if not chosen:
        raise Refused("no micrograph was removed")
    session.insert_built(lambda: _brought_back(session, [m.id for m in chosen]))
    return len(chosen)


def delete_for_good(session: Session, micrographs: Iterable[int] | None = None) -> int:
    """Delete removed micrographs (all by default) with their picks and regions. Returns how many.

    The history still knows them: undo brings them back, as long as it reaches so far.
    """
    ids = list(session.removed) if micrographs is None else list(dict.fromkeys(micrographs))
    chosen = [session.removed[i] for i in ids if i in session.removed]
    if not chosen:
        raise Refused("remove micrographs first; what was removed can then be deleted for good")

    def build(_store: Store, connection: Connection) -> Change:
        deltas = [delta for m in chosen for delta in removed_rows(connection, m)]
        message = Message("delete", _what(chosen), where="for good")
        return message.change("delete-micrographs", (*deltas, _deleted(chosen)))

    session.commit(Step(build, sum(m.n_particles for m in chosen), f"deleting {_what(chosen)}"))
    return len(chosen)


def _what(chosen: Sequence[Micrograph]) -> str:
    return chosen[0].name if len(chosen) == 1 else edits.count_of(len(chosen), "micrograph")


def _taken_out(session: Session, ids: Sequence[int]) -> Change:
    here = [session.micrograph(i) for i in ids]
    had = session.store.settings().get(HAD) or {}
    now = {**had, **{str(m.id): [m.state.value, m.state_by] for m in here}}
    states = {m.id: (MicrographState.REMOVED.value, session.curator) for m in here}
    kept = edits.setting_delta(HAD, had or None, now)
    return _to_states(Message("remove", _what(here)), here, states, kept)


def _brought_back(session: Session, ids: Sequence[int]) -> Change:
    here = [session.micrograph(i) for i in ids]
    had = session.store.settings().get(HAD) or {}
    states = {m.id: tuple(had.get(str(m.id)) or _guess(m)) for m in here}
    now = {i: state for i, state in had.items() if int(i) not in ids}
    return _to_states(
        Message("bring back", _what(here)), here, states, edits.setting_delta(HAD, had or None, now or None)
    )


def _guess(m: Micrograph) -> tuple[str, str]:
    return (MicrographState.IN_PROGRESS if m.n_particles else MicrographState.UNSEEN).value, ""


def _to_states(
    message: Message, here: Sequence[Micrograph], states: Mapping[int, tuple[str, ...]], had: Delta
) -> Change:
    before = {"state": [m.state.value for m in here], "state_by": [m.state_by for m in here]}
    after = {"state": [states[m.id][0] for m in here], "state_by": [states[m.id][1] for m in here]}
    ids = np.array([m.id for m in here], np.int64)
    delta = Delta(Table.MICROGRAPH, Kind.UPDATE, ids, _arrays(before), _arrays(after))
    return message.change("state", (delta, had), here[0].id if len(here) == 1 else None)


def _arrays(columns: dict[str, list[str]]) -> dict[str, NDArray[Any]]:
    return {name: np.array(values) for name, values in columns.items()}


def _deleted(chosen: Sequence[Micrograph]) -> Delta:
    """The rows of the table of micrographs. Their picks are counted when they come back, not before."""
    columns: dict[str, NDArray[Any]] = {}
    for field in fields(Micrograph):
        values = [getattr(m, field.name) for m in chosen]
        if field.name.startswith("n_") and field.name != "n_frames":
            columns[field.name] = np.zeros(len(values), np.int64)
        elif field.name.endswith("pixel_size_A"):
            columns[field.name] = np.array([np.nan if value is None else value for value in values], np.float64)
        elif field.name != "id":
            columns[field.name] = np.array([value if isinstance(value, int) else str(value) for value in values])
    return Delta(Table.MICROGRAPH, Kind.DELETE, np.array([m.id for m in chosen], np.int64), columns)
