"""cryoSPARC ``.cs``: particle centres as fractions of the micrograph, y counted from its *last* row (FORMATS.md 3).

``x = center_x_frac * W``, ``y = center_y_frac * H`` with the file's own ``micrograph_shape`` are centres in the frame
CryoPPP's CSVs are in (``row = H - y``), in float64. The fields ``location/*`` often lie in the passthrough file beside,
joined by ``uid``, a 64-bit number that never goes through a float. cryoSPARC takes picks made elsewhere only as STAR;
writing a ``.cs`` therefore fills a copy of the one that was read.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import CRYOPPP_FRAME, FloatArray, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .registry import match_micrographs
from .table.dataset import NPY_MAGIC, STREAM_MAGIC, Dataset, read_dataset, write_dataset
from .table.rows import kept, source_positions, texts

_UID = "uid"
_PATH, _SHAPE = "location/micrograph_path", "location/micrograph_shape"
_X, _Y = "location/center_x_frac", "location/center_y_frac"
_PIXEL = "location/micrograph_psize_A"
_SCORE, _CLASS = "pick_stats/ncc_score", "alignments2D/class"
_NEEDED = (_PATH, _SHAPE, _X, _Y)
_KEPT_PREFIXES = ("location/", "pick_stats/")
#: Kinds of NumPy type, and shape of one row.
_TYPES: dict[str, tuple[str, tuple[int, ...]]] = {
    _UID: ("u", ()), _PATH: ("SO", ()), _SHAPE: ("ui", (2,)), _X: ("f", ()), _Y: ("f", ()), _PIXEL: ("f", ()),
    _SCORE: ("f", ()), _CLASS: ("ui", ()),
}  # fmt: skip
_PASSTHROUGH = "passthrough"
#: A difference below this is the arithmetic's, not the curator's: float32 fractions resolve no less, px.
_MOVED_PX = 1e-4
_STAR_ROUTE = (
    "cryoSPARC takes picks made elsewhere as STAR: export relion-particles and use Import Particle Stack with Source "
    "exposures; or name the .cs these picks were read from as the template, and a copy of it is filled"
)


@dataclass(frozen=True)
class _Cryosparc:
    """cryoSPARC particle datasets; see the module."""

    name: str = "cryosparc"
    title: str = "cryoSPARC (.cs)"
    extensions: tuple[str, ...] = (".cs",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = CRYOPPP_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "extra", "template"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a cryoSPARC dataset: by its first bytes."""
        if path.is_dir():
            return 0.0
        if head.startswith(STREAM_MAGIC):
            return 0.97
        if head.startswith(NPY_MAGIC):
            return 0.97 if b"'uid'" in head else 0.5 if path.suffix.lower() == ".cs" else 0.0
        return 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a dataset; rows are grouped by micrograph, in the file's order.

        ``alignments2D/class`` counts from 0 and comes back counted from 1, since 0 is *none* here. ``uid``,
        ``location/*`` and ``pick_stats/*`` are kept as text.

        Raises
        ------
        FormatError
            It is no dataset, is damaged, or knows no positions, neither itself nor in a passthrough file beside.
        """
        issues: list[Issue] = []
        data = _read(path)
        located, rows = _located(data, path)
        if not (rows >= 0).all():
            _report(rows < 0, "has no position in the passthrough file", path, permissive, issues)
        data, located = data.take(rows >= 0), located.take(rows[rows >= 0])
        good = np.ones(len(located), bool)
        for bad, what in _problems(located):
            _report(bad & good, what, path, permissive, issues)
            good &= ~bad
        picks = _picks(data.take(good), located.take(good), path)
        return PickFile(self.name, path, self.frame, picks, tuple(issues), _pixel_size(located))

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Fill a copy of ``options.template``, the file these picks were read from, into folder (or file) ``out``.

        Rows are found by their ``uid``. Moved picks get new fractions, unmoved rows stay as they are to the bit,
        rejected and missing ones are left out; new picks go last, with a fresh uid, the place of their micrograph
        and 0 in all other fields. Where the positions lie in a passthrough file, both files are written.

        Raises
        ------
        FormatError
            There is no template, it would be overwritten, or a new pick lies on a micrograph it does not know.
        """
        if options.template is None:
            raise FormatError(_STAR_ROUTE, out)
        data = _read(options.template)
        located_path = _passthrough(data, options.template)
        target = out if out.suffix.lower() == ".cs" else out / options.template.name
        if located_path is None:
            return [_write(target, _filled(data, data, picks, options)[0], options.template)]
        both = _filled(data, _read(located_path), picks, options)
        written = _write(target, both[0], options.template)
        return [written, _write(target.parent / located_path.name, both[1], located_path)]


# --- reading -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> Dataset:
    """Read a dataset whose fields are what cryoSPARC makes of them."""
    data = read_dataset(path)
    for name, (kinds, shape) in _TYPES.items():
        column = data.columns.get(name)
        if column is not None and (column.dtype.kind not in kinds or column.shape[1:] != shape):
            raise FormatError(f"field {name} is of type {column.dtype} {column.shape[1:]}, not cryoSPARC's", path)
    if _UID not in data.columns or data.columns[_UID].dtype.itemsize != 8:
        raise FormatError(f"has no field {_UID} of 64 bits", path)
    return data


def _located(data: Dataset, path: Path) -> tuple[Dataset, NDArray[np.intp]]:
    """The dataset that knows the positions, and for each row of ``data`` the row there (-1 = none)."""
    beside = _passthrough(data, path)
    if beside is None:
        return data, np.arange(len(data))
    located = _read(beside)
    return located, _rows_of(data.columns[_UID], located.columns[_UID])


def _has_positions(data: Dataset) -> bool:
    return all(name in data.columns for name in _NEEDED)


def _passthrough(data: Dataset, path: Path) -> Path | None:
    """The passthrough file beside that knows the positions; None where ``data`` knows them itself.

    Raises
    ------
    FormatError
        No file does.
    """
    if _has_positions(data):
        return None
    best: tuple[int, Path] | None = None
    for candidate in sorted(path.parent.glob(f"*{_PASSTHROUGH}*.cs"), key=lambda p: (not _belongs(p, path), p.name)):
        if candidate == path:
            continue
        try:
            found = _read(candidate)
        except FormatError:
            continue
        n = int((_rows_of(data.columns[_UID], found.columns[_UID]) >= 0).sum()) if _has_positions(found) else 0
        if n and (best is None or n > best[0]):
            best = (n, candidate)
    if best is None:
        raise FormatError(
            "has no positions (location/*): they are in the job's passthrough file (*_passthrough_particles.cs); "
            "put that beside it",
            path,
        )
    return best[1]


def _belongs(candidate: Path, path: Path) -> bool:
    """Whether a passthrough file is called after the file it completes."""
    return candidate.name.replace(f"{_PASSTHROUGH}_", "") == path.name


def _rows_of(wanted: NDArray[Any], there: NDArray[Any]) -> NDArray[np.intp]:
    """Row of each uid of ``wanted`` in ``there``; -1 where it is missing. Integers throughout."""
    if not len(there):
        return np.full(len(wanted), -1, np.intp)
    order = np.argsort(there, kind="stable")
    place = np.minimum(np.searchsorted(there[order], wanted), len(there) - 1)
    rows = order[place]
    return np.where(there[rows] == wanted, rows, -1)


def _problems(located: Dataset) -> list[tuple[NDArray[np.bool_], str]]:
    """Rows that cannot be used, and why."""
    columns = located.columns
    finite = np.isfinite(columns[_X]) & np.isfinite(columns[_Y])
    sized = (columns[_SHAPE] > 0).all(axis=1)
    named = np.array([len(name) > 0 for name in columns[_PATH].tolist()], bool)
    return [
        (~finite, f"{_X} or {_Y} is no finite number"),
        (~sized, f"{_SHAPE} is 0"),
        (~named, f"{_PATH} is empty"),
    ]


def _report(bad: NDArray[np.bool_], what: str, path: Path, permissive: bool, issues: list[Issue]) -> None:
    for index in np.flatnonzero(bad).tolist():
        message = f"row {index + 1}: {what}"
        if not permissive:
            raise FormatError(message, path)
        issues.append(Issue(message, path))


def _positions(located: Dataset) -> tuple[FloatArray, FloatArray]:
    """Centres in px, y counted from the last row."""
    shape = located.columns[_SHAPE].astype(np.float64)
    fractions = (located.columns[name].astype(np.float64) for name in (_X, _Y))
    x, y = (fraction * shape[:, axis] for fraction, axis in zip(fractions, (1, 0), strict=True))
    return x, y


def _pixel_size(located: Dataset) -> float | None:
    """Micrograph pixel size, where it is one: 1.31 and not what float32 makes of it."""
    if _PIXEL not in located.columns:
        return None
    sizes = np.unique(located.columns[_PIXEL])
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return float(str(sizes[0])) if len(sizes) == 1 else None


def _picks(data: Dataset, located: Dataset, path: Path) -> tuple[FilePicks, ...]:
    x, y = _positions(located)
    columns: dict[str, Any] = {"x": x, "y": y}
    both = {**located.columns, **data.columns}
    if _SCORE in both:
        columns["score"] = both[_SCORE].astype(np.float64)
    if _CLASS in both:
        columns["class_id"] = np.clip(both[_CLASS].astype(np.int64), -1, 2**31 - 2).astype(np.int32) + 1
    names = _names(located.columns[_PATH], path)
    extra = {name: _as_text(column) for name, column in both.items() if _is_kept(name, column)}
    return tuple(
        FilePicks(
            name,
            **{key: column[rows] for key, column in columns.items()},
            extra={key: column[rows] for key, column in extra.items()},
            source=path,
        )
        for name, rows in _groups(names).items()
    )


def _is_kept(name: str, column: NDArray[Any]) -> bool:
    own = (_X, _Y, _SCORE)
    return (
        column.ndim == 1
        and column.dtype.kind in "uif"
        and (name == _UID or (name.startswith(_KEPT_PREFIXES) and name not in own))
    )


def _as_text(column: NDArray[Any]) -> NDArray[np.str_]:
    """Numbers as their shortest text; integers through integers only."""
    return texts(list(map(str, column if column.dtype.kind == "f" else column.tolist())))


def _names(column: NDArray[Any], path: Path) -> list[str]:
    """Micrograph paths; cryoSPARC marks some with a ``>`` in front."""
    known: dict[Any, str] = {}
    for value in set(column.tolist()):
        try:
            name = value.decode("utf-8") if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise FormatError(f"{_PATH} holds a name that is not UTF-8", path) from error
        known[value] = name.lstrip(">")
    return [known[value] for value in column.tolist()]


def _groups(names: list[str]) -> dict[str, NDArray[np.intp]]:
    rows: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        rows.setdefault(name, []).append(index)
    return {name: np.array(index, np.intp) for name, index in rows.items()}


# --- writing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Wanted:
    """All picks to be written, source px; ``uid`` 0 = none, ``micrograph`` indexes the list handed in."""

    uid: NDArray[np.uint64]
    x: FloatArray
    y: FloatArray
    score: FloatArray
    micrograph: NDArray[np.intp]


def _filled(
    data: Dataset, located: Dataset, picks: Sequence[MicrographPicks], options: WriteOptions
) -> tuple[Dataset, Dataset]:
    """The dataset and the one with the positions (the same where it is one), with the picks in them."""
    template = options.template
    uids = data.columns[_UID]
    if len(np.unique(uids)) < len(uids):
        raise FormatError("has the same uid twice: its rows cannot be told apart", template)
    wanted = _wanted(picks, options)
    rows = _rows_of(wanted.uid, uids)
    known = (rows >= 0) & (_rows_of(wanted.uid, located.columns[_UID]) >= 0)
    if len(np.unique(rows[known])) < known.sum():
        raise FormatError("two picks have the same uid: were they imported twice?", template)
    order = np.argsort(rows[known], kind="stable")
    place = _rows_of(uids[rows[known][order]], located.columns[_UID])
    old = (data.take(rows[known][order]), _moved(located.take(place), wanted, np.flatnonzero(known)[order]))
    new = _new_rows(data, located, wanted, np.flatnonzero(~known), picks, template)
    joined = _joined(old[1], new[1])
    return (joined if data is located else _joined(old[0], new[0])), joined


def _wanted(picks: Sequence[MicrographPicks], options: WriteOptions) -> _Wanted:
    frame = CRYOPPP_FRAME if options.frame is None else options.frame
    good = [pick.take(pick.decision != Decision.REJECTED) for pick in picks]
    positions = [source_positions(pick, frame) for pick in good]
    uids = [_uid(text) for pick in good for text in kept(pick.extra, _UID, len(pick))]
    return _Wanted(
        np.array(uids, np.uint64),
        np.concatenate([np.zeros(0), *(x for x, _ in positions)]),
        np.concatenate([np.zeros(0), *(y for _, y in positions)]),
        np.concatenate([np.zeros(0), *(pick.score for pick in good)]),
        np.repeat(np.arange(len(good)), np.array([len(pick) for pick in good], np.intp)),
    )


def _uid(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= 20 and int(text) < 2**64 else 0


def _moved(located: Dataset, wanted: _Wanted, which: NDArray[np.intp]) -> Dataset:
    """Rows with the fractions of those picks that are no longer where they were."""
    columns = dict(located.columns)
    shape = columns[_SHAPE].astype(np.float64)
    for name, was, now, axis in zip((_X, _Y), _positions(located), (wanted.x, wanted.y), (1, 0), strict=True):
        moved = np.abs(now[which] - was) > _MOVED_PX
        if moved.any():
            columns[name] = columns[name].copy()
            columns[name][moved] = (now[which] / shape[:, axis])[moved]
    return Dataset(columns, located.compressed)


def _new_rows(
    data: Dataset,
    located: Dataset,
    wanted: _Wanted,
    which: NDArray[np.intp],
    picks: Sequence[MicrographPicks],
    template: Path | None,
) -> tuple[Dataset, Dataset]:
    """Rows of picks that the template does not have: ``location/*`` of their micrograph, 0 elsewhere."""
    siblings = _siblings(located, picks, sorted(set(wanted.micrograph[which].tolist())), template)
    rows = np.array([siblings[i] for i in wanted.micrograph[which].tolist()], np.intp)
    uid = _fresh(len(which), np.union1d(data.columns[_UID], located.columns[_UID]))
    near = {name: column[rows] for name, column in located.columns.items() if name.startswith("location/")}
    shape = near[_SHAPE].astype(np.float64)
    near[_X] = (wanted.x[which] / shape[:, 1]).astype(near[_X].dtype)
    near[_Y] = (wanted.y[which] / shape[:, 0]).astype(near[_Y].dtype)
    found = []
    for table in (data, located):
        columns = {
            name: near[name] if name in near else _zeros(column, len(which)) for name, column in table.columns.items()
        }
        columns[_UID] = uid.astype(table.columns[_UID].dtype)
        if _SCORE in columns:
            columns[_SCORE] = np.nan_to_num(wanted.score[which]).astype(columns[_SCORE].dtype)
        found.append(Dataset(columns, table.compressed))
    return found[0], found[1]


def _siblings(
    located: Dataset, picks: Sequence[MicrographPicks], which: list[int], template: Path | None
) -> dict[int, int]:
    """For each micrograph with new picks, a row of the template that is on it."""
    if not which:
        return {}
    names = _names(located.columns[_PATH], template or Path())
    first = {name: rows[0] for name, rows in _groups(names).items()}
    match = match_micrographs(first, [pick.micrograph.path for pick in picks]).matches
    row_of = {path: int(first[name]) for name, path in match.items()}
    for index in which:
        if picks[index].micrograph.path not in row_of:
            raise FormatError(
                f"has no pick on {picks[index].micrograph.name}, so new ones there cannot be linked to its exposure. "
                + _STAR_ROUTE,
                template,
            )
    return {index: row_of[picks[index].micrograph.path] for index in which}


def _fresh(n: int, taken: NDArray[Any]) -> NDArray[np.uint64]:
    """New random uids, none of them taken."""
    used = set(taken.tolist()) | {0}
    found: list[int] = []
    while len(found) < n:
        uid = secrets.randbits(64)
        if uid not in used:
            used.add(uid)
            found.append(uid)
    return np.array(found, np.uint64)


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


def _write(target: Path, dataset: Dataset, template: Path) -> Path:
    if target.resolve() == template.resolve():
        raise FormatError("is the template itself, which is not overwritten; choose another folder", target)
    return write_dataset(target, dataset)


CRYOSPARC = _Cryosparc()
