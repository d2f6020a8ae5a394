"""Builds the :class:`Change` of each verb from what is there. Pure: nothing is written here."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...model.curation import BULK_VERB, Change, Decision, Delta, Kind, Reason, Table
from ...model.message import Message
from ...model.micrograph import Micrograph, MicrographState
from ...model.particles import Particles

Ids = NDArray[np.int64]

VERB = {Decision.ACCEPTED: "accept", Decision.REJECTED: "reject", Decision.UNDECIDED: "undecide"}

#: What is said while it goes on.
DOING = {Decision.ACCEPTED: "accepting", Decision.REJECTED: "rejecting", Decision.UNDECIDED: "setting undecided"}


def count_of(n: int, noun: str = "pick") -> str:
    """``1 pick``, ``12 picks``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def new_pick_set(
    kind: str,
    name: str,
    curator: str,
    *,
    source: str = "",
    frame: Any = None,
    parameters: Any = None,
    created: str = "",
) -> Delta:
    """Insert one pick set with the placeholder id -1."""
    after = {
        "name": name,
        "kind": kind,
        "source": source,
        "curator": curator,
        "frame": json.dumps(frame or {}),
        "parameters": json.dumps(parameters or {}),
        "created": created,
    }
    return Delta(
        Table.PICK_SET, Kind.INSERT, np.array([-1], np.int64), {}, {k: np.array([v]) for k, v in after.items()}
    )


def new_hand_set(curator: str) -> Delta:
    """Insert the pick set of what a curator picks by hand, with the placeholder id -1."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return new_pick_set("hand", f"by hand, {curator}", curator, created=now)


def nearest(particles: Particles, x: float, y: float) -> float:
    """Distance from ``(x, y)`` to the nearest pick that is not rejected, px; infinite where there is none."""
    kept = particles.decision != Decision.REJECTED
    return float(np.hypot(particles.x[kept] - x, particles.y[kept] - y).min(initial=np.inf))


def insert_particles(columns: Mapping[str, NDArray[Any]], n: int) -> Delta:
    """Insert ``n`` particles; ``columns`` (n,) or (1,) must hold ``micrograph``; ids are given at the commit."""
    return Delta(
        Table.PARTICLE,
        Kind.INSERT,
        -np.arange(1, n + 1, dtype=np.int64),
        {},
        dict(columns),
        np.asarray(columns["micrograph"], np.int64),
    )


def add(micrograph: Micrograph, pick_set: int | Delta, x: ArrayLike, y: ArrayLike, species: int = 0) -> Change:
    """Hand picks of a species: accepted, no score, no class, no diameter of their own."""
    xs, ys = np.atleast_1d(np.asarray(x, np.float64)), np.atleast_1d(np.asarray(y, np.float64))
    columns: dict[str, NDArray[Any]] = {
        "micrograph": np.array([micrograph.id], np.int64),
        "pick_set": np.array([pick_set if isinstance(pick_set, int) else -1], np.int64),
        "x": xs,
        "y": ys,
        "decision": np.array([int(Decision.ACCEPTED)], np.int8),
        "reason": np.array([0], np.int8),
        "class_id": np.array([0], np.int32),
        "diameter_A": np.array([np.nan]),
        "score": np.array([np.nan]),
        "species": np.array([species], np.int32),
    }
    deltas: tuple[Delta, ...] = (insert_particles(columns, len(xs)),)
    if isinstance(pick_set, Delta):
        deltas = (pick_set, *deltas)
    message = Message("add", count_of(len(xs)), where=f"on {micrograph.name}")
    return message.change("add", deltas, micrograph.id)


def move(micrograph: Micrograph, particles: Particles, ids: Ids, x: ArrayLike, y: ArrayLike) -> Change | None:
    """Move picks to new positions (n,), canonical px. None where nothing moves."""
    rows = particles.rows_of(ids)
    last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]  # of a pick named twice
    keep = np.zeros(len(ids), bool)
    keep[last] = rows[last] >= 0
    rows = rows[keep]
    xs = np.broadcast_to(np.asarray(x, np.float64), (len(ids),))[keep]
    ys = np.broadcast_to(np.asarray(y, np.float64), (len(ids),))[keep]
    moved = (particles.x[rows] != xs) | (particles.y[rows] != ys)
    rows, xs, ys = rows[moved], xs[moved], ys[moved]
    if not len(rows):
        return None
    before = {"x": particles.x[rows], "y": particles.y[rows]}
    delta = _update(particles, rows, before, {"x": xs, "y": ys})
    message = Message("move", count_of(len(rows)), where=f"on {micrograph.name}")
    return message.change("move", (delta,), micrograph.id)


def decide(
    particles: Particles,
    decision: Decision,
    reason: Reason,
    where: str,
    micrograph: int | None,
    *,
    in_bulk: bool = False,
) -> Change | None:
    """Give every row of ``particles`` one decision. None where all have it already.

    Parameters
    ----------
    where : str
        Ends the title ("on 14_33_35_0").
    in_bulk : bool
        By a rule: nobody looked at each pick.
    """
    if decision is not Decision.REJECTED:
        reason = Reason.NONE
    differs = (particles.decision != decision) | (particles.reason != reason)
    rows = np.flatnonzero(differs)
    if not len(rows):
        return None
    before = {"decision": particles.decision[rows], "reason": particles.reason[rows]}
    after = {"decision": np.array([int(decision)], np.int8), "reason": np.array([int(reason)], np.int8)}
    because = f"as {reason.label}" if reason is not Reason.NONE else ""
    message = Message(VERB[decision], count_of(len(rows)), because, where)
    verb = BULK_VERB if in_bulk else "decide"
    return message.change(verb, (_update(particles, rows, before, after),), micrograph)


def remove(micrograph: Micrograph, particles: Particles, hand_sets: Sequence[int]) -> Change | None:
    """Delete hand picks; reject imported ones, which are evidence of another person's work."""
    by_hand = np.isin(particles.pick_set, np.asarray(hand_sets, np.int64))
    # what was rejected already keeps its reason
    mine, theirs = particles.take(by_hand), particles.take(~by_hand & (particles.decision != Decision.REJECTED))
    deltas: list[Delta] = []
    messages: list[Message] = []
    if len(mine):
        deltas.append(Delta(Table.PARTICLE, Kind.DELETE, mine.id, mine.columns(), {}, mine.micrograph))
        messages.append(Message("delete", count_of(len(mine))))
    rejected = decide(theirs, Decision.REJECTED, Reason.NOT_A_PARTICLE, "", None) if len(theirs) else None
    if rejected is not None:
        deltas.extend(rejected.deltas)
        messages.append(Message("reject", count_of(rejected.n_rows(), "imported pick")))
    if not deltas:
        return None
    message = replace(messages[0], where=f"on {micrograph.name}", also=messages[1] if len(messages) > 1 else None)
    return message.change("remove", deltas, micrograph.id)


def set_state(
    micrographs: Sequence[Micrograph], state: MicrographState, curator: str, reason: str = ""
) -> Change | None:
    """Say how far the curator is with some micrographs; a reason stands in the history."""
    changed = [m for m in {m.id: m for m in micrographs}.values() if m.state is not state]
    if not changed:
        return None
    delta = _update_micrographs(
        changed,
        {"state": [m.state.value for m in changed], "state_by": [m.state_by for m in changed]},
        {"state": [state.value], "state_by": [curator]},
    )
    only_one = changed[0] if len(changed) == 1 else None
    what = only_one.name if only_one else count_of(len(changed), "micrograph")
    words = f"{state.value} ({reason})" if reason else state.value
    return Message("mark", what, words).change("state", (delta,), only_one.id if only_one else None)


def assign(micrographs: Sequence[Micrograph], curator: str) -> Change | None:
    """Say who is to do some micrographs; empty = nobody in particular."""
    changed = [m for m in {m.id: m for m in micrographs}.values() if m.assigned != curator]
    if not changed:
        return None
    before, after = {"assigned": [m.assigned for m in changed]}, {"assigned": [curator]}
    delta = _update_micrographs(changed, before, after)
    only_one = changed[0] if len(changed) == 1 else None
    what = only_one.name if only_one else count_of(len(changed), "micrograph")
    title = f"assign {what} to {curator}" if curator else f"assign {what} to nobody"
    return Change("assign", title, (delta,), only_one.id if only_one else None, title.replace("assign", "assigned", 1))


def set_pixel_size(micrograph: Micrograph, value_A: float | None) -> Change | None:
    """Override (or, with None, trust again) the pixel size of one micrograph."""
    before = np.nan if micrograph.own_pixel_size_A is None else micrograph.own_pixel_size_A
    after = np.nan if value_A is None else float(value_A)
    if before == after or (np.isnan(before) and np.isnan(after)):
        return None
    delta = _update_micrographs([micrograph], {"own_pixel_size_A": [before]}, {"own_pixel_size_A": [after]})
    text = "as its header says" if value_A is None else f"{value_A:g} Å/px"
    return Change("pixel-size", f"pixel size of {micrograph.name}: {text}", (delta,), micrograph.id)


def set_frame(micrograph: Micrograph, frame: int) -> Change | None:
    """Choose the image of a multi-frame file; -1 = the average."""
    if frame == micrograph.frame:
        return None
    delta = _update_micrographs([micrograph], {"frame": [micrograph.frame]}, {"frame": [frame]})
    image = "the average" if frame < 0 else f"frame {frame + 1}"
    return Message("show", image, where=f"of {micrograph.name}").change("frame", (delta,), micrograph.id)


def set_text(
    micrographs: Iterable[Micrograph], column: str, after: Mapping[int, str], verb: str, title: str | Message
) -> Change | None:
    """Set a text column of the micrographs whose ids ``after`` names. None where nothing changes."""
    changed = [m for m in micrographs if m.id in after and getattr(m, column) != after[m.id]]
    if not changed:
        return None
    before = {column: [getattr(m, column) for m in changed]}
    delta = _update_micrographs(changed, before, {column: [after[m.id] for m in changed]})
    only_one = changed[0].id if len(changed) == 1 else None
    return (
        title.change(verb, (delta,), only_one)
        if isinstance(title, Message)
        else Change(verb, title, (delta,), only_one)
    )


def set_setting(key: str, before: Any, after: Any, title: str) -> Change | None:
    """Change a project setting as a step that can be undone."""
    if before == after:
        return None
    return Change("setting", title, (setting_delta(key, before, after),))


def setting_delta(key: str, before: Any, after: Any) -> Delta:
    """One setting before and after."""
    keys = np.array([key])
    return Delta(
        Table.SETTING,
        Kind.UPDATE,
        np.zeros(1, np.int64),
        {"key": keys, "value": np.array([json.dumps(before)])},
        {"key": keys, "value": np.array([json.dumps(after)])},
    )


def _update(
    particles: Particles, rows: NDArray[np.intp], before: dict[str, NDArray[Any]], after: dict[str, NDArray[Any]]
) -> Delta:
    return Delta(Table.PARTICLE, Kind.UPDATE, particles.id[rows], before, after, particles.micrograph[rows])


def _update_micrographs(
    micrographs: Sequence[Micrograph], before: Mapping[str, list[Any]], after: Mapping[str, list[Any]]
) -> Delta:
    ids = np.array([m.id for m in micrographs], np.int64)
    return Delta(
        Table.MICROGRAPH,
        Kind.UPDATE,
        ids,
        {k: np.array(v) for k, v in before.items()},
        {k: np.array(v) for k, v in after.items()},
    )
