"""What a session holds in memory, after a change that the store has confirmed. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...model.curation import Delta, Kind
from ...model.micrograph import Micrograph, MicrographState
from ...model.pick_set import PickSet

Find = Callable[[int], Micrograph]


def recounted(find: Find, touched: NDArray[np.int64], steps: NDArray[np.int64]) -> Iterator[Micrograph]:
    """Micrographs ``touched`` (k,) with so many more undecided, accepted and rejected picks (k, 3)."""
    for i, (undecided, accepted, rejected) in zip(touched.tolist(), steps.tolist(), strict=True):
        m = find(i)
        yield replace(
            m,
            n_undecided=m.n_undecided + undecided,
            n_accepted=m.n_accepted + accepted,
            n_rejected=m.n_rejected + rejected,
        )


def micrographs_after(find: Find, delta: Delta) -> Iterator[Micrograph]:
    """Micrographs of an update of their table as they are after it."""
    for k, i in enumerate(delta.ids.tolist()):
        values: dict[str, Any] = {}
        for name, column in delta.after.items():
            value = np.broadcast_to(column, (len(delta),))[k].item()
            if name == "state":
                value = MicrographState(value)
            elif name in ("own_pixel_size_A", "header_pixel_size_A") and value != value:
                value = None
            values[name] = value
        yield replace(find(i), **values)


def follow_pick_sets(pick_sets: dict[int, PickSet], delta: Delta) -> None:
    """Let the pick sets in memory follow a delta of their table."""
    for k, i in enumerate(delta.ids.tolist()):
        if delta.kind is Kind.DELETE:
            pick_sets.pop(i, None)
        else:
            pick_sets[i] = PickSet.from_row({"id": i, **{n: str(c[k]) for n, c in delta.after.items()}})


def settings_of(delta: Delta) -> dict[str, Any]:
    """The settings that a delta of their table changes, as they are after it."""
    pairs = zip(delta.after["key"], delta.after["value"], strict=True)
    return {str(key): json.loads(str(value)) for key, value in pairs}
