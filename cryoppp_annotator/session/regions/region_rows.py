"""Regions as rows of their table: what they are before and after a step."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...model.curation import Change, Delta, Kind, Table
from ...model.message import Message
from ...model.region import Origin, Region, pack_vertices
from ..core import edits
from ..core.session import Session

#: Stable name of changes of regions.
KIND = "region"


def of(session: Session, micrograph: int) -> list[Region]:
    """The regions of a micrograph, ordered by id; not the dismissed ones."""
    return [region for region in session.store.regions(micrograph) if region.origin is not Origin.DISMISSED]


def numbers_of(ids: ArrayLike) -> NDArray[np.int64]:
    """Ids (n,) int64, each once."""
    return np.unique(np.atleast_1d(np.asarray(ids, np.int64)))


def all_of(session: Session, ids: NDArray[np.int64]) -> list[Region]:
    """The regions of some ids (n,); those of the current micrograph are looked through first."""
    numbers = set(ids.tolist())
    here = session.store.regions(session.current_id) if session.current_id is not None else []
    chosen = [region for region in here if region.id in numbers]
    if len(chosen) < len(numbers):
        chosen = [region for region in session.store.regions() if region.id in numbers]
    return chosen


def change_of(session: Session, message: Message, regions: Sequence[Region], deltas: Sequence[Delta]) -> Change | None:
    """The change that deltas of some regions make, with the place in its title; None where there are no deltas."""
    if not deltas:
        return None
    touched = {region.micrograph for region in regions}
    only_micrograph = touched.pop() if len(touched) == 1 else None
    where = (
        session.micrograph(only_micrograph).name
        if only_micrograph is not None
        else edits.count_of(len(touched), "micrograph")
    )
    return replace(message, where=f"on {where}").change(KIND, deltas, only_micrograph)


def _columns(regions: Sequence[Region]) -> dict[str, NDArray[Any]]:
    return {
        "micrograph": np.array([r.micrograph for r in regions], np.int64),
        "reason": np.array([int(r.reason) for r in regions], np.int8),
        "origin": np.array([r.origin.value for r in regions]),
        "vertices": np.array([pack_vertices(r.vertices) for r in regions]),
        "curator": np.array([r.curator for r in regions]),
        "created": np.array([r.created for r in regions]),
    }


def insertion(session: Session, regions: Sequence[Region]) -> Delta:
    """New regions of this curator, with placeholder ids."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    columns = _columns(regions) | {"curator": np.array([session.curator]), "created": np.array([now])}
    ids = -np.arange(1, len(regions) + 1, dtype=np.int64)
    return Delta(Table.REGION, Kind.INSERT, ids, {}, columns, columns["micrograph"])


def deletion(regions: Sequence[Region]) -> Delta:
    """Regions taken out of the table."""
    columns = _columns(regions)
    return Delta(Table.REGION, Kind.DELETE, _ids(regions), columns, {}, columns["micrograph"])


def update(regions: Sequence[Region], after: Mapping[str, list[Any]]) -> Delta:
    """Columns of regions before and after; one value stands for all rows."""
    before = _columns(regions)
    changed = {
        name: np.array(values, before[name].dtype if name == "reason" else None) for name, values in after.items()
    }
    return Delta(
        Table.REGION,
        Kind.UPDATE,
        _ids(regions),
        {name: before[name] for name in changed},
        changed,
        before["micrograph"],
    )


def _ids(regions: Sequence[Region]) -> NDArray[np.int64]:
    return np.array([r.id for r in regions], np.int64)
