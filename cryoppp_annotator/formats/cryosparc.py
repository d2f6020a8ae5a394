"""cryoSPARC ``.cs``: particle centres as fractions of the micrograph, y counted from its *last* row (FORMATS.md 3).

``x = center_x_frac * W``, ``y = center_y_frac * H`` with the file's own ``micrograph_shape`` are centres in the frame
CryoPPP's CSVs are in (``row = H - y``), in float64. The fields ``location/*`` often lie in the passthrough file beside,
joined by ``uid``, a 64-bit number that never is a float. cryoSPARC takes picks of other programs only as STAR;
writing a ``.cs`` therefore fills a copy of the one that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import CRYOPPP_FRAME, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from .cryosparc_fields import (
    CLASS,
    PATH,
    PIXEL,
    SCORE,
    SHAPE,
    UID,
    X,
    Y,
    group_beside,
    main_dataset,
    micrograph_names,
    passthrough_beside,
    positions_of,
    read_fields,
    rows_by_name,
)
from .cryosparc_filling import STAR_ROUTE, filled, write_filled, write_group
from .cryosparc_groups import is_group, rows_of
from .table.cs_tables import NPY_MAGIC, STREAM_MAGIC, Dataset
from .table.text_rows import texts

_KEPT_PREFIXES = ("location/", "pick_stats/")


@dataclass(frozen=True)
class _Cryosparc:
    """cryoSPARC particle datasets; see the module."""

    name: str = "cryosparc"
    title: str = "cryoSPARC (.cs)"
    extensions: tuple[str, ...] = (".cs", ".csg")
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = CRYOPPP_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "extra", "template"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a cryoSPARC dataset: by its first bytes."""
        if not head and path.is_dir():
            return 0.0
        if is_group(path):
            return 0.97 if b"metafile" in head else 0.0
        if head.startswith(STREAM_MAGIC):
            return 0.97
        if head.startswith(NPY_MAGIC):
            return 0.97 if b"'uid'" in head else 0.5 if path.suffix.lower() == ".cs" else 0.0
        return 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a dataset, or those of a result group (``.csg``); rows are grouped by micrograph, in the file's order.

        ``alignments2D/class`` counts from 0 and comes back counted from 1, since 0 is *none* here. ``uid``,
        ``location/*`` and ``pick_stats/*`` are kept as text.

        Raises
        ------
        FormatError
            It is no dataset, is damaged, or knows no positions, neither itself nor in a passthrough file beside.
        """
        issues: list[Issue] = []
        whole, path = path, main_dataset(path)
        data = read_fields(path)
        located_path = passthrough_beside(data, path)
        located, rows = _located(data, located_path)
        if not (rows >= 0).all():
            _report(rows < 0, "has no position in the passthrough file", path, permissive, issues)
        data, located = data.take(rows >= 0), located.take(rows[rows >= 0])
        good = np.ones(len(located), bool)
        for bad, what in _problems(located):
            _report(bad & good, what, path, permissive, issues)
            good &= ~bad
        picks = _picks(data.take(good), located.take(good), path)
        group = whole if is_group(whole) else group_beside(path)
        companions = tuple(other for other in (located_path, group) if other is not None)
        return PickFile(self.name, whole, self.frame, picks, tuple(issues), _pixel_size(located), companions=companions)

    def unite(self, files: Sequence[PickFile]) -> list[PickFile]:
        """Files that share uids as one source: a particle that two of them hold is taken once.

        A particles file knows its passthrough file, and comes before it whatever the order they were named in.
        """
        named = {file.path for file in files}
        partners = {path for file in files for path in file.companions if path != file.path and path in named}
        taken: set[str] = set()
        united: list[PickFile] = []
        for file in sorted(files, key=lambda file: _rank(file, partners)):
            fresh, n_double = _without_uids(file, taken)
            taken |= {uid for picks in fresh.picks for uid in picks.extra.get(UID, np.zeros(0, str)).tolist()}
            if not n_double:
                united.append(file)
            elif fresh.n_picks:
                note = f"{n_double:,} particles are in another file too (same uid) and were taken once"
                united.append(replace(fresh, notes=(*file.notes, note)))
        return united

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Fill a copy of ``options.template``, the file these picks were read from, into folder (or file) ``out``.

        Rows are found by their ``uid``. Moved picks get new fractions, unmoved rows stay as they are to the bit,
        rejected and missing ones are left out; new picks go last, with a fresh uid, the place of their micrograph
        and 0 in all other fields. Where the positions lie in a passthrough file, both files are written; a result
        group (``.csg``), which cryoSPARC imports by *Import Result Group*, goes with them.

        Raises
        ------
        FormatError
            There is no template, it would be overwritten, or a new pick lies on a micrograph it does not know.
        """
        if options.template is None:
            raise FormatError(STAR_ROUTE, out)
        template = main_dataset(options.template)
        data = read_fields(template)
        located_path = passthrough_beside(data, template)
        target = out if out.suffix.lower() == ".cs" else out / template.name
        if located_path is None:
            parts = filled(data, data, picks, options)
            written = {write_filled(target, parts[0], template): parts[0]}
        else:
            parts = filled(data, read_fields(located_path), picks, options)
            written = {write_filled(target, parts[0], template): parts[0]}
            written[write_filled(target.parent / located_path.name, parts[1], located_path)] = parts[1]
        return [*written, write_group(written, group_beside(template))]


# --- reading -------------------------------------------------------------------------------------------------------


def _located(data: Dataset, beside: Path | None) -> tuple[Dataset, NDArray[np.intp]]:
    """The dataset that knows the positions, and for each row of ``data`` the row there (-1 = none)."""
    if beside is None:
        return data, np.arange(len(data))
    located = read_fields(beside)
    return located, rows_of(data.columns[UID], located.columns[UID])


def _rank(file: PickFile, partners: set[Path]) -> tuple[bool, bool]:
    """Groups, and files that are completed by another one, come before those that only know the positions."""
    completed = any(path.suffix.lower() == ".cs" for path in file.companions)
    return file.path in partners and not is_group(file.path), not (completed or is_group(file.path))


def _without_uids(file: PickFile, taken: set[str]) -> tuple[PickFile, int]:
    """A file without the particles of these uids, and how many those were."""
    picks: list[FilePicks] = []
    n_double = 0
    for part in file.picks:
        uids = part.extra[UID].tolist() if UID in part.extra else [""] * len(part)
        fresh = np.array([uid not in taken for uid in uids], bool)
        n_double += int((~fresh).sum())
        if fresh.any():
            picks.append(_some(part, fresh))
    return replace(file, picks=tuple(picks)), n_double


def _some(part: FilePicks, rows: NDArray[np.bool_]) -> FilePicks:
    return replace(
        part,
        x=part.x[rows],
        y=part.y[rows],
        score=None if part.score is None else part.score[rows],
        class_id=None if part.class_id is None else part.class_id[rows],
        extra={name: column[rows] for name, column in part.extra.items()},
    )


def _problems(located: Dataset) -> list[tuple[NDArray[np.bool_], str]]:
    """Rows that cannot be used, and why."""
    columns = located.columns
    finite = np.isfinite(columns[X]) & np.isfinite(columns[Y])
    sized = (columns[SHAPE] > 0).all(axis=1)
    named = np.array([len(name) > 0 for name in columns[PATH].tolist()], bool)
    return [
        (~finite, f"{X} or {Y} is no finite number"),
        (~sized, f"{SHAPE} is 0"),
        (~named, f"{PATH} is empty"),
    ]


def _report(bad: NDArray[np.bool_], what: str, path: Path, permissive: bool, issues: list[Issue]) -> None:
    for index in np.flatnonzero(bad).tolist():
        message = f"row {index + 1}: {what}"
        if not permissive:
            raise FormatError(message, path)
        issues.append(Issue(message, path))


def _pixel_size(located: Dataset) -> float | None:
    """Micrograph pixel size, where it is one: 1.31 and not what float32 makes of it."""
    if PIXEL not in located.columns:
        return None
    sizes = np.unique(located.columns[PIXEL])
    sizes = sizes[np.isfinite(sizes) & (sizes > 0)]
    return float(str(sizes[0])) if len(sizes) == 1 else None


def _picks(data: Dataset, located: Dataset, path: Path) -> tuple[FilePicks, ...]:
    x, y = positions_of(located)
    columns: dict[str, Any] = {"x": x, "y": y}
    both = {**located.columns, **data.columns}
    if SCORE in both:
        columns["score"] = both[SCORE].astype(np.float64)
    if CLASS in both:
        columns["class_id"] = np.clip(both[CLASS].astype(np.int64), -1, 2**31 - 2).astype(np.int32) + 1
    names = micrograph_names(located.columns[PATH], path)
    extra = {name: _as_text(column) for name, column in both.items() if _is_kept(name, column)}
    return tuple(
        FilePicks(
            name,
            **{key: column[rows] for key, column in columns.items()},
            extra={key: column[rows] for key, column in extra.items()},
            source=path,
        )
        for name, rows in rows_by_name(names).items()
    )


def _is_kept(name: str, column: NDArray[Any]) -> bool:
    own = (X, Y, SCORE)
    return (
        column.ndim == 1
        and column.dtype.kind in "uif"
        and (name == UID or (name.startswith(_KEPT_PREFIXES) and name not in own))
    )


def _as_text(column: NDArray[Any]) -> NDArray[np.str_]:
    """Numbers as their shortest text; integers through integers only."""
    return texts(list(map(str, column if column.dtype.kind == "f" else column.tolist())))


CRYOSPARC = _Cryosparc()
