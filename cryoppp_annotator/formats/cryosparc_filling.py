"""A cryoSPARC dataset filled with curated picks: a copy of the one they were read from."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import CRYOPPP_FRAME, FloatArray
from ..model.curation import Decision
from ..model.pickfile import MicrographPicks, WriteOptions
from .atomic import write_text
from .cryosparc_fields import PATH, SCORE, SHAPE, UID, X, Y, micrograph_names, positions_of, rows_by_name
from .cryosparc_groups import group_text, rows_of
from .registry import match_micrographs
from .table.cs_tables import Dataset, write_dataset
from .table.text_rows import kept, read_bounded, source_positions

#: A difference below this is the arithmetic's, not the curator's: float32 fractions resolve no less, px.
_MOVED_PX = 1e-4
STAR_ROUTE = (
    "cryoSPARC imports picks of other programs as STAR: export relion-particles and use Import Particle Stack with "
    "Source exposures; or name the .cs these picks were read from as the template, and a copy of it is filled"
)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """All picks to be written, source px; ``uid`` 0 = none, ``micrograph`` indexes the list handed in."""

    uid: NDArray[np.uint64]
    x: FloatArray
    y: FloatArray
    score: FloatArray
    micrograph: NDArray[np.intp]


def filled(
    data: Dataset, located: Dataset, picks: Sequence[MicrographPicks], options: WriteOptions
) -> tuple[Dataset, Dataset]:
    """The dataset and the one with the positions (the same where it is one), with the picks in them."""
    template = options.template
    uids = data.columns[UID]
    if len(np.unique(uids)) < len(uids):
        raise FormatError("has the same uid twice: its rows cannot be distinguished", template)
    chosen = _chosen(picks, options)
    rows = rows_of(chosen.uid, uids)
    known = (rows >= 0) & (rows_of(chosen.uid, located.columns[UID]) >= 0)
    if len(np.unique(rows[known])) < known.sum():
        raise FormatError("two picks have the same uid: were they imported twice?", template)
    order = np.argsort(rows[known], kind="stable")
    place = rows_of(uids[rows[known][order]], located.columns[UID])
    old = (data.take(rows[known][order]), _moved(located.take(place), chosen, np.flatnonzero(known)[order]))
    new = _new_rows(data, located, chosen, np.flatnonzero(~known), picks, template)
    joined = _joined(old[1], new[1])
    return (joined if data is located else _joined(old[0], new[0])), joined


def _chosen(picks: Sequence[MicrographPicks], options: WriteOptions) -> _Chosen:
    frame = CRYOPPP_FRAME if options.frame is None else options.frame
    good = [pick.take(pick.decision != Decision.REJECTED) for pick in picks]
    positions = [source_positions(pick, frame) for pick in good]
    uids = [_uid(text) for pick in good for text in kept(pick.extra, UID, len(pick))]
    return _Chosen(
        np.array(uids, np.uint64),
        np.concatenate([np.zeros(0), *(x for x, _ in positions)]),
        np.concatenate([np.zeros(0), *(y for _, y in positions)]),
        np.concatenate([np.zeros(0), *(pick.score for pick in good)]),
        np.repeat(np.arange(len(good)), np.array([len(pick) for pick in good], np.intp)),
    )


def _uid(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 20 and int(text) < 2**64 else 0


def _moved(located: Dataset, chosen: _Chosen, which: NDArray[np.intp]) -> Dataset:
    """Rows with the fractions of those picks that are no longer where they were."""
    columns = dict(located.columns)
    shape = columns[SHAPE].astype(np.float64)
    for name, was, now, axis in zip((X, Y), positions_of(located), (chosen.x, chosen.y), (1, 0), strict=True):
        moved = np.abs(now[which] - was) > _MOVED_PX
        if moved.any():
            columns[name] = columns[name].copy()
            columns[name][moved] = (now[which] / shape[:, axis])[moved]
    return Dataset(columns, located.compressed)


def _new_rows(
    data: Dataset,
    located: Dataset,
    chosen: _Chosen,
    which: NDArray[np.intp],
    picks: Sequence[MicrographPicks],
    template: Path | None,
) -> tuple[Dataset, Dataset]:
    """Rows of picks that the template does not have: ``location/*`` of their micrograph, 0 elsewhere."""
    siblings = _siblings(located, picks, sorted(set(chosen.micrograph[which].tolist())), template)
    rows = np.array([siblings[i] for i in chosen.micrograph[which].tolist()], np.intp)
    uid = _fresh(len(which), np.union1d(data.columns[UID], located.columns[UID]))
    near = {name: column[rows] for name, column in located.columns.items() if name.startswith("location/")}
    shape = near[SHAPE].astype(np.float64)
    near[X] = (chosen.x[which] / shape[:, 1]).astype(near[X].dtype)
    near[Y] = (chosen.y[which] / shape[:, 0]).astype(near[Y].dtype)
    new = []
    for table in (data, located):
        columns = {
            name: near[name] if name in near else _zeros(column, len(which)) for name, column in table.columns.items()
        }
        columns[UID] = uid.astype(table.columns[UID].dtype)
        if SCORE in columns:
            columns[SCORE] = np.nan_to_num(chosen.score[which]).astype(columns[SCORE].dtype)
        new.append(Dataset(columns, table.compressed))
    return new[0], new[1]


def _siblings(
    located: Dataset, picks: Sequence[MicrographPicks], which: list[int], template: Path | None
) -> dict[int, int]:
    """For each micrograph with new picks, a row of the template that is on it."""
    if not which:
        return {}
    names = micrograph_names(located.columns[PATH], template or Path())
    first = {name: rows[0] for name, rows in rows_by_name(names).items()}
    match = match_micrographs(first, [pick.micrograph.path for pick in picks]).matches
    row_of = {path: int(first[name]) for name, path in match.items()}
    for index in which:
        if picks[index].micrograph.path not in row_of:
            raise FormatError(
                f"has no pick on {picks[index].micrograph.name}, so new ones there cannot be linked to its exposure. "
                + STAR_ROUTE,
                template,
            )
    return {index: row_of[picks[index].micrograph.path] for index in which}


def _fresh(n: int, taken: NDArray[Any]) -> NDArray[np.uint64]:
    """New random uids, none of them taken."""
    used = set(taken.tolist()) | {0}
    fresh: list[int] = []
    while len(fresh) < n:
        uid = secrets.randbits(64)
        if uid not in used:
            used.add(uid)
            fresh.append(uid)
    return np.array(fresh, np.uint64)


def _zeros(column: NDArray[Any], n: int) -> NDArray[Any]:
    if column.dtype.kind == "O":
        return np.full(n, "", object)
    return np.zeros((n, *column.shape[1:]), column.dtype)


def _joined(a: Dataset, b: Dataset) -> Dataset:
    if not len(b):
        return a
    return Dataset(
        {name: np.concatenate([column, b.columns[name]]) for name, column in a.columns.items()}, a.compressed
    )


def write_group(written: Mapping[Path, Dataset], like: Path | None) -> Path:
    """A result group of the files that were written; like the one they came with, where there was one."""
    first = next(iter(written))
    slots = {
        path.name: list(dict.fromkeys(name.split("/")[0] for name in data.columns if "/" in name))
        for path, data in written.items()
    }
    target = first.with_suffix(".csg") if like is None else first.parent / like.name
    text = "" if like is None else read_bounded(like)
    return write_text(target, group_text(slots, len(written[first]), first.stem, text))


def write_filled(target: Path, dataset: Dataset, template: Path) -> Path:
    """Write a filled copy. Raises FormatError where it would replace the template itself."""
    if target.resolve() == template.resolve():
        raise FormatError("is the template itself, which is not overwritten; choose another folder", target)
    return write_dataset(target, dataset)
