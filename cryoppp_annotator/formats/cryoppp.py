"""CryoPPP: per-micrograph and data-set CSVs, false positives, and whole CryoPPP or CryoPPP_Lite folders.

Positions are particle centres in px with y counted from the *last* row of the MRC: ``row = H - Y`` (FORMATS.md 1.3).
That holds for the CSVs and for ``*_particles_selected.star``, which looks like RELION's and is not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, disk_reason
from ..model.coordinates import CRYOPPP_FRAME, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, RowLayout, WriteOptions
from .atomic import write_text
from .names import distinct_names, refuse_collisions
from .relion_picks import read_picks
from .table.star import ColumnReader, decode_head, number_text, require_finite
from .table.star_file import read_star
from .table.text_rows import ONE_MICROGRAPH_BYTES, read_bounded

_X = "X-Coordinate"
_Y = "Y-Coordinate"
_DIAMETER = "Diameter"
_MICROGRAPH = "Micrographs Filename"
_CLASS = "Class Number"
#: What the extended CSV has beside the three basic columns, in its order.
EXTENDED_COLUMNS = (
    "Angle-Psi",
    "Origin X (Ang)",
    "Origin Y (Ang)",
    "Defocus U",
    "Defocus V",
    "Defocus Angle",
    "Phase Shift",
    "CTF B Factor",
)
_INTERPRETED = frozenset({_X, _Y, _DIAMETER, _MICROGRAPH, _CLASS})
_COORDINATES = "particle_coordinates"
_FALSE = "false_positives"
_FALSE_SUFFIX = "_false_positives"
_STAR_NAME = re.compile(r"(?:^|_)(?:selected|excluded)\.star$")
#: A data set's CSV of some millions of particles is smaller.
_MAX_BYTES = 1 << 30
_MAX_CELL = 100_000
_PICTURES = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class _CryoPPP:
    """CryoPPP's own files; see the module."""

    name: str = "cryoppp"
    title: str = "CryoPPP"
    extensions: tuple[str, ...] = (".csv",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = CRYOPPP_FRAME
    carries: frozenset[str] = frozenset({"diameter", "class", "decision", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a CryoPPP file or folder."""
        if not head and path.is_dir():
            return 0.95 if _ground_truth(path) is not None else 0.0
        if is_cryoppp_star(path):
            return 0.95
        if not head:
            return 0.5 if path.suffix.lower() == ".csv" else 0.0
        columns = _header_cells(decode_head(head).split("\n", 1)[0])
        return 0.95 if {_X, _Y} <= set(columns) else 0.0

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a CSV, a ``*_particles_selected.star`` or ``*_excluded.star``, or a data-set folder.

        ``false_positives`` and ``excluded`` files come back REJECTED, everything else UNDECIDED. A folder whose
        ``micrographs`` are pictures only (CryoPPP_Lite) declares the as-stored frame, since those pictures are
        stored upside down against the MRCs; verify with :mod:`.frame`.

        Raises
        ------
        FormatError
        """
        if path.is_dir():
            return _read_folder(path, permissive)
        if path.suffix.lower() == ".star":
            return _read_star(path, permissive)
        return _read_csv(path, permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out/ground_truth/particle_coordinates/<stem>.csv`` for every micrograph, zero picks included.

        Rejected particles go to ``ground_truth/false_positives``. All eight extended columns are written where an
        import kept all of them. A position that is not a whole number is written exactly, but ``H - y`` itself
        rounds to float64, so it may come back changed by one part in 1e16 of the height.

        Raises
        ------
        FormatError
            A diameter or the micrograph's height is unknown, a position is not finite, two micrographs share a stem.
        """
        names = distinct_names(picks)
        refuse_collisions(names, out)
        truth = out / "ground_truth"
        texts: dict[Path, str] = {}
        for pick, name in zip(picks, names, strict=True):
            rejected = pick.decision == Decision.REJECTED
            texts[truth / _COORDINATES / f"{name}.csv"] = _csv_text(pick.take(~rejected), options)
            false = truth / _FALSE / f"{name}{_FALSE_SUFFIX}.csv"
            if rejected.any() or false.exists():  # an older export's file would contradict this one
                texts[false] = _csv_text(pick.take(rejected), options)
        return [write_text(path, text) for path, text in texts.items()]


def is_cryoppp_star(path: Path) -> bool:
    """Whether name and place make a STAR one of CryoPPP's (in its own frame, not RELION's)."""
    return path.parent.name == "ground_truth" and _STAR_NAME.search(path.name) is not None


# --- reading -------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, permissive: bool) -> PickFile:
    columns, lines, issues = _csv_columns(path, permissive)
    reader = ColumnReader(columns, lines, path, permissive)
    picks = _csv_picks(reader, columns, path, lines)
    return PickFile("cryoppp", path, _frame_beside(path), picks, (*issues, *reader.issues))


def _csv_picks(
    reader: ColumnReader, columns: Mapping[str, list[str]], path: Path, lines: list[int]
) -> tuple[FilePicks, ...]:
    decision = _decision_of(path)
    name = path.stem.removesuffix(_FALSE_SUFFIX) if decision is Decision.REJECTED else path.stem
    if not columns:
        return (FilePicks(name, np.zeros(0), np.zeros(0), decision=decision, source=path),)
    data: dict[str, Any] = {"x": reader.number(_X), "y": reader.number(_Y)}
    if _DIAMETER in columns:
        data["diameter_px"] = reader.number(_DIAMETER, optional=True)
    if _CLASS in columns:
        data["class_id"] = reader.integer(_CLASS)
    extra = {label: reader.text(label) for label in columns if label not in _INTERPRETED}
    labels = list(columns)
    layout = RowLayout(labels.index(_X), labels.index(_Y), _delimiter_of(path), "")
    return tuple(
        FilePicks(
            micrograph,
            **{key: column[rows] for key, column in data.items()},
            decision=decision,
            extra={key: column[rows] for key, column in extra.items()},
            source=path,
            lines=np.array(lines, np.int64)[rows],
            layout=layout,
        )
        for micrograph, rows in _groups(columns, reader.good, name).items()
    )


def _groups(columns: Mapping[str, list[str]], good: NDArray[np.bool_], name: str) -> dict[str, NDArray[np.intp]]:
    """Rows of each micrograph; a file that names none is of one."""
    if _MICROGRAPH not in columns:
        return {name: np.flatnonzero(good)}
    rows: dict[str, list[int]] = {}
    for index, micrograph in enumerate(columns[_MICROGRAPH]):
        rows.setdefault(micrograph, []).append(index)
    arrays = {micrograph: np.array(index, dtype=np.intp) for micrograph, index in rows.items()}
    return {micrograph: index[good[index]] for micrograph, index in arrays.items()}


def _csv_columns(path: Path, permissive: bool) -> tuple[dict[str, list[str]], list[int], list[Issue]]:
    """Columns as text, 1-based line of each row, and the rows that had to be left out. Nothing for 0 bytes."""
    _require_header(path)
    text = read_bounded(path, _MAX_BYTES)
    if not text:
        return {}, [], []
    lines = text.split("\n")
    delimiter = _delimiter(lines[0])
    if '"' in text:
        rows = _quoted_rows(lines, delimiter, path)
        header, widths = _header(rows[0], path), list(map(len, rows))
    else:
        header, widths = _header(lines[0].split(delimiter), path), [line.count(delimiter) + 1 for line in lines]
    good, issues = _good_rows(widths, lines, len(header), path, permissive)
    if '"' in text:
        flat = [cell for index in good for cell in rows[index]]
    else:  # one split for all: three times as fast as row by row
        flat = delimiter.join([lines[index] for index in good]).split(delimiter) if good else []
    if max(map(len, flat), default=0) > _MAX_CELL:
        raise FormatError("holds a value of more than 100,000 characters; is it damaged?", path)
    columns = {label: flat[i :: len(header)] for i, label in enumerate(header)}
    return columns, [index + 1 for index in good], issues


def _require_header(path: Path) -> None:
    """Refuse a large file by its first line, before it is read whole."""
    try:
        if path.stat().st_size <= ONE_MICROGRAPH_BYTES:
            return
        with path.open("rb") as stream:
            line, _, rest = decode_head(stream.read(1 << 16)).partition("\n")
    except OSError as error:
        raise FormatError(f"cannot be read ({disk_reason(error)})", path) from error
    _header(_header_cells(line) if rest else [], path)


def _good_rows(
    widths: list[int], lines: list[str], width: int, path: Path, permissive: bool
) -> tuple[list[int], list[Issue]]:
    """Indices of the lines after the header that have as many values as it; blank lines are passed over."""
    issues: list[Issue] = []
    bad: set[int] = set()
    for index, n_values in enumerate(widths):
        if n_values == width:
            continue
        bad.add(index)
        if index and lines[index].strip(" \t,;"):
            message = f"{n_values} values where the header has {width} columns"
            if not permissive:
                raise FormatError(message, path, index + 1)
            issues.append(Issue(message, path, index + 1))
    return [index for index in range(1, len(widths)) if index not in bad], issues


def _quoted_rows(lines: list[str], delimiter: str, path: Path) -> list[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise FormatError(f"is not CSV: {error}", path, reader.line_num) from error
    if len(rows) != len(lines):
        raise FormatError("has a quoted value that runs over a line end", path)
    return rows


def _delimiter_of(path: Path) -> str:
    with path.open("rb") as stream:
        return _delimiter(decode_head(stream.read(4096)).split("\n", 1)[0])


def _delimiter(header: str) -> str:
    """Comma, or a tab or semicolon where the header has those and no comma (a spreadsheet's re-saving)."""
    return next((mark for mark in (",", "\t", ";") if mark in header), ",")


def _header_cells(line: str) -> list[str]:
    return [cell.strip().strip('"') for cell in line.strip().split(_delimiter(line))]


def _header(cells: list[str], path: Path) -> list[str]:
    header = [cell.strip() for cell in cells]
    missing = [label for label in (_X, _Y) if label not in header]
    if missing:
        raise FormatError(f"the first line lacks the column {' and '.join(missing)}: not a CryoPPP CSV", path, 1)
    repeated = sorted({label for label in header if header.count(label) > 1})
    if repeated:
        raise FormatError(f"the column {repeated[0]!r} appears twice", path, 1)
    return header


def _decision_of(path: Path) -> Decision:
    excluded = path.stem.endswith(("_excluded", _FALSE_SUFFIX)) or path.parent.name == _FALSE
    return Decision.REJECTED if excluded else Decision.UNDECIDED


def _read_star(path: Path, permissive: bool) -> PickFile:
    star = read_star(path, permissive=permissive)
    file = read_picks(star, "cryoppp", permissive=permissive, frame=_frame_beside(path))
    decision = _decision_of(path)
    return replace(file, picks=tuple(replace(pick, decision=decision) for pick in file.picks))


def _read_folder(path: Path, permissive: bool) -> PickFile:
    truth = _ground_truth(path)
    if truth is None:
        raise FormatError("is not a CryoPPP folder: it has neither ground_truth nor particle_coordinates", path)
    files = _csv_files(truth, _COORDINATES) or sorted(truth.glob("*_selected.star"))
    files += _csv_files(truth, _FALSE) or sorted(truth.glob("*_excluded.star"))
    if not files:
        raise FormatError("has no coordinate CSV and no *_particles_selected.star in its ground_truth", path)
    picks: list[FilePicks] = []
    issues: list[Issue] = []
    for file in files:
        try:
            part = CRYOPPP.read(file, permissive=permissive)
        except FormatError as error:
            if not permissive:
                raise
            issues.append(Issue(error.detail, file, error.line))
            continue
        picks += part.picks
        issues += part.issues
    return PickFile("cryoppp", path, _frame_of(truth), tuple(picks), tuple(issues))


def _ground_truth(path: Path) -> Path | None:
    """The folder that holds ``particle_coordinates``, for a data-set folder or any of its label folders."""
    if path.name in (_COORDINATES, _FALSE):
        return path.parent
    for folder in (path / "ground_truth", path):
        if (folder / _COORDINATES).is_dir() or (folder.name == "ground_truth" and folder.is_dir()):
            return folder
    return None


def _csv_files(truth: Path, folder: str) -> list[Path]:
    return sorted(file for file in (truth / folder).rglob("*.csv") if not file.name.startswith("."))


def _frame_beside(path: Path) -> SourceFrame:
    truth = path.parent.parent if path.parent.name in (_COORDINATES, _FALSE) else path.parent
    return _frame_of(truth)


def _frame_of(truth: Path) -> SourceFrame:
    """CryoPPP's frame, but as-stored where the data set's micrographs are 8-bit pictures only (CryoPPP_Lite)."""
    folder = truth.parent / "micrographs"
    if truth.name != "ground_truth" or not folder.is_dir():
        return CRYOPPP_FRAME
    kinds = {file.suffix.lower() for file in folder.iterdir() if not file.name.startswith(".")}
    return SourceFrame() if kinds and kinds <= _PICTURES else CRYOPPP_FRAME


# --- writing -------------------------------------------------------------------------------------------------------


def _csv_text(pick: MicrographPicks, options: WriteOptions) -> str:
    frame = CRYOPPP_FRAME if options.frame is None else options.frame
    _require_writable(pick)
    box = 0.0 if options.box_size_px is None else options.box_size_px
    x, y = frame.from_canonical(pick.x, pick.y, height=pick.micrograph.height, box_size=box)
    columns = [number_text(x), number_text(y), number_text(pick.diameter_px / frame.scale)]
    header = [_X, _Y, _DIAMETER]
    if all(label in pick.extra for label in EXTENDED_COLUMNS):
        header += EXTENDED_COLUMNS
        columns += [_cells(pick.extra[label]) for label in EXTENDED_COLUMNS]
    rows = map(",".join, zip(*columns, strict=True))
    return "\n".join([",".join(header), *rows]) + "\n"


def _cells(column: NDArray[np.str_]) -> list[str]:
    texts: list[str] = column.tolist()
    return ['"' + text.replace('"', '""') + '"' if set(text) & set(',"\n') else text for text in texts]


def _require_writable(pick: MicrographPicks) -> None:
    name = pick.micrograph.name
    require_finite(pick.x, pick.y, name)
    if len(pick) and not pick.micrograph.height > 0:
        raise FormatError(f"the height of {name} is not known, and CryoPPP counts y from the last row")
    if not (np.isfinite(pick.diameter_px) & (pick.diameter_px > 0)).all():
        raise FormatError(
            f"CryoPPP needs a diameter for every particle; {name} has particles without one: set it first"
        )


CRYOPPP = _CryoPPP()
