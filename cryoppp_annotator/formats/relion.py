"""RELION's coordinate files: per-micrograph STARs, the lists that name them, and ``particles.star``.

Positions are particle centres in px of the micrograph, row 0 = first row of the file: the canonical frame itself
(3dem/relion ``src/preprocessing.cpp``; FORMATS.md 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import RELION_FRAME, SourceFrame
from ..model.pickfile import FilePicks, Issue, MicrographPicks, PickFile, RowLayout, WriteOptions
from .atomic import write_text
from .table.star import ColumnReader, StarFile, StarTable, decode_head, format_star, number_text, require_finite
from .table.star_file import read_star

_X, _Y = "rlnCoordinateX", "rlnCoordinateY"
_MICROGRAPH = "rlnMicrographName"
_SCORE, _CLASS = "rlnAutopickFigureOfMerit", "rlnClassNumber"
_GROUP = "rlnOpticsGroup"
_LIST_BLOCK, _LIST_FILE = "coordinate_files", "rlnMicrographCoordinates"
_TOMOGRAPHY = ("rlnCenteredCoordinateXAngst", "rlnTomoName")
_INTERPRETED = frozenset({_X, _Y, _MICROGRAPH, _SCORE, _CLASS})
#: Columns we make ourselves when writing, so never taken from what an import kept.
_OWN = _INTERPRETED | {_GROUP}
#: Microscope values that 3.1+ keeps per optics group; they travel with each particle as text.
_OPTICS = ("rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast")
#: RELION 3.1 takes no optics group without these two; 0 stands for "not known", which no CTF program mistakes.
_REQUIRED_OPTICS = ("rlnVoltage", "rlnSphericalAberration")
#: Columns that say something of the micrograph and not of the particle, by how they begin.
_OF_MICROGRAPH = ("rlnDefocus", "rlnCtf", "rlnPhaseShift", "rlnMicrograph", "rlnBeamTilt", "rlnOpticsGroup", *_OPTICS)
_MANUAL_DEFAULTS = {"rlnParticleSelectionType": "1", "rlnAnglePsi": "-999.0"}
_PICK_SUFFIX = "_manualpick"


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Relion:
    """Per-micrograph STARs (``<stem>_manualpick.star``, ``<stem>_autopick.star``) and the lists that name them."""

    name: str = "relion"
    title: str = "RELION picks (one STAR per micrograph)"
    extensions: tuple[str, ...] = (".star",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = RELION_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "extra"})
    many_micrographs: bool = False

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a coordinate STAR of one micrograph, or a list of such."""
        if path.name.startswith("coords_suffix") and path.suffix == ".star":
            return 0.9
        return _sniff(path, head, several=False)

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read the picks of a STAR file, of a ``data_coordinate_files`` list, or those a ``coords_suffix`` file means.

        ``FilePicks.micrograph`` is the file's stem with its suffix where the rows do not name a micrograph;
        ``registry.match_micrographs`` knows the suffixes.

        Raises
        ------
        FormatError
        """
        if path.name.startswith("coords_suffix"):
            return _read_suffix(path, permissive)
        star = read_star(path, permissive=permissive)
        listed = star.table(_LIST_BLOCK)
        if listed is not None:
            return _read_list(star, listed, permissive)
        return read_picks(star, self.name, permissive=permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write one STAR per micrograph under ``out``, and the lists RELION 3.x and 4+ find them by.

        Rows of every decision are written (RELION has no place for one): hand in those you want. Diameters have no
        column either. ``options.suffix`` defaults to ``_manualpick``; the list is called after it.

        Raises
        ------
        FormatError
            Two micrographs share a stem, or a position is not finite.
        """
        suffix = _PICK_SUFFIX if options.suffix is None else options.suffix
        names = [_file_of(pick, suffix) for pick in picks]
        refuse_collisions(names, out)
        texts = {
            out / name: format_star([("", _manual_columns(pick, options))])
            for name, pick in zip(names, picks, strict=True)
        }
        texts.update(_lists(out, picks, names, suffix))
        return [write_text(path, text) for path, text in texts.items()]


@dataclass(frozen=True)
class _RelionParticles:
    """``particles.star``: all particles of a data set in one file, 3.0 or 3.1 and later (with optics groups)."""

    name: str = "relion-particles"
    title: str = "RELION particles (one STAR for all)"
    extensions: tuple[str, ...] = (".star",)
    can_read: bool = True
    can_write: bool = True
    frame: SourceFrame = RELION_FRAME
    carries: frozenset[str] = frozenset({"score", "class", "extra"})
    many_micrographs: bool = True

    def sniff(self, path: Path, head: bytes) -> float:
        """How sure (0 .. 1) that this is a STAR whose rows name their micrograph."""
        return _sniff(path, head, several=True)

    def read(self, path: Path, *, permissive: bool = False) -> PickFile:
        """Read a particles STAR; rows are grouped by micrograph, in the file's order.

        Raises
        ------
        FormatError
            Not such a STAR, or a tomography one.
        """
        return read_picks(read_star(path, permissive=permissive), self.name, permissive=permissive)

    def write(self, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions) -> list[Path]:
        """Write ``out`` (where it ends in ``.star``) or ``out/particles.star``, RELION 3.1's layout.

        Micrographs of one pixel size (and microscope) share an optics group. Imported columns go back under their
        own labels; where only some micrographs have one, the others get -999 (or ``None`` for text).

        Raises
        ------
        FormatError
            A position is not finite, or only some micrographs have a pixel size.
        """
        target = out if out.suffix == ".star" else out / "particles.star"
        optics, groups = _optics_groups(picks, options)
        particles = _particle_columns(picks, groups, options)
        return [write_text(target, format_star([("optics", optics), ("particles", particles)], version="30001"))]


def _sniff(path: Path, head: bytes, *, several: bool) -> float:
    if path.is_dir():
        return 0.0
    if not head:
        return 0.5 if path.suffix == ".star" and not several else 0.0
    text = decode_head(head)
    if "data_" not in text:
        return 0.0
    if f"data_{_LIST_BLOCK}" in text:
        return 0.0 if several else 0.95
    trust = 1.0 if path.suffix == ".star" else 0.8
    names = _MICROGRAPH in text or "rlnImageName" in text
    if f"_{_X}" in text:
        return trust * (0.9 if names == several else 0.5)
    if "data_optics" in text or names:
        return trust * (0.6 if several else 0.2)
    return 0.1 if "_rln" in text else 0.0


def read_picks(star: StarFile, format_name: str, *, permissive: bool, frame: SourceFrame = RELION_FRAME) -> PickFile:
    """Turn a parsed STAR into picks.

    Parameters
    ----------
    star : StarFile
    format_name : str
        Goes into the result.
    permissive : bool
        Bad rows become issues.
    frame : SourceFrame
        What the file's coordinates are declared to be in.

    Raises
    ------
    FormatError
        No table has ``rlnCoordinateX`` and ``rlnCoordinateY``, or a row is bad.
    """
    issues = list(star.issues)
    if not star.tables:
        empty = FilePicks(star.path.stem, np.zeros(0), np.zeros(0), source=star.path)
        return PickFile(format_name, star.path, frame, (empty,))
    table = _coordinate_table(star)
    optics = _optics_of(star, table)
    columns: dict[str, Sequence[str]] = {**table.columns, **optics}
    reader = ColumnReader(columns, table.lines, star.path, permissive)
    picks = _grouped(reader, columns, table, star.path)
    issues += reader.issues
    sizes = _pixel_sizes(star, table, permissive)
    if len(sizes) > 1 and permissive:
        issues.append(Issue(f"several micrograph pixel sizes: {', '.join(f'{s:g}' for s in sizes)} A", star.path))
    return PickFile(format_name, star.path, frame, picks, tuple(issues), sizes[0] if len(sizes) == 1 else None)


def _coordinate_table(star: StarFile) -> StarTable:
    for table in star.tables:
        for label in _TOMOGRAPHY:
            if label in table.columns:
                raise FormatError(
                    f"holds tomography particles ({label}); this program labels 2D micrographs", star.path
                )
    found = [table for table in star.tables if _X in table.columns and _Y in table.columns]
    if not found:
        labels = ", ".join(list(star.tables[0].columns)[:6])
        raise FormatError(f"has no columns {_X} and {_Y} (it has {labels})", star.path)
    if len(found) > 1:
        names = ", ".join(f"data_{table.block}" for table in found)
        raise FormatError(f"has coordinates in several blocks ({names}); keep one", star.path)
    return found[0]


def _grouped(
    reader: ColumnReader, columns: Mapping[str, Sequence[str]], table: StarTable, path: Path
) -> tuple[FilePicks, ...]:
    """One FilePicks per micrograph named in the rows, in order of first appearance."""
    data: dict[str, Any] = {"x": reader.number(_X), "y": reader.number(_Y)}
    if _SCORE in columns:
        data["score"] = reader.number(_SCORE, optional=True)
    if _CLASS in columns:
        data["class_id"] = reader.integer(_CLASS)
    extra = {label: reader.text(label) for label in columns if label not in _INTERPRETED}
    good = reader.good
    labels = list(table.columns)
    layout = RowLayout(labels.index(_X), labels.index(_Y))
    lines = np.array(table.lines, np.int64)
    if _MICROGRAPH not in table.columns:
        rows = {path.stem: np.flatnonzero(good)}
    else:
        rows = _rows_by_name(table.columns[_MICROGRAPH], good)
    return tuple(
        FilePicks(
            name,
            **{key: column[index] for key, column in data.items()},
            extra={key: column[index] for key, column in extra.items()},
            source=path,
            lines=lines[index],
            layout=layout,
        )
        for name, index in rows.items()
    )


def _rows_by_name(names: Sequence[str], good: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    codes: dict[str, int] = {}
    code = np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.intp)
    order = np.argsort(code, kind="stable")
    edges = np.searchsorted(code[order], np.arange(len(codes) + 1))
    groups = {name: order[edges[i] : edges[i + 1]] for name, i in codes.items()}
    return {name: index[good[index]] for name, index in groups.items()}


def _optics_of(star: StarFile, table: StarTable) -> dict[str, list[str]]:
    """Microscope values of each row's optics group, as columns of the table."""
    optics = star.table("optics")
    if optics is None or _GROUP not in optics.columns or _GROUP not in table.columns:
        return {}
    found: dict[str, list[str]] = {}
    for label in _OPTICS:
        if label in optics.columns and label not in table.columns:
            of_group = dict(zip(optics.columns[_GROUP], optics.columns[label], strict=True))
            found[label] = [of_group.get(group, "-999") for group in table.columns[_GROUP]]
    return found


def _pixel_sizes(star: StarFile, table: StarTable, permissive: bool) -> list[float]:
    """Micrograph pixel sizes the file states, angstrom, without repeats."""
    for source in (star.table("optics"), table):
        for label in ("rlnMicrographPixelSize", "rlnMicrographOriginalPixelSize"):
            if source is not None and label in source.columns:
                values = ColumnReader(source.columns, source.lines, star.path, permissive).number(label, optional=True)
                return _positive(values)
    if "rlnDetectorPixelSize" in table.columns and "rlnMagnification" in table.columns:
        reader = ColumnReader(table.columns, table.lines, star.path, permissive)
        detector_um = reader.number("rlnDetectorPixelSize", optional=True)
        magnification = reader.number("rlnMagnification", optional=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return _positive(1e4 * detector_um / magnification)
    return []


def _positive(values: NDArray[np.float64]) -> list[float]:
    return [float(value) for value in np.unique(values[np.isfinite(values) & (values > 0)])]


def _read_list(star: StarFile, table: StarTable, permissive: bool) -> PickFile:
    if _MICROGRAPH not in table.columns or _LIST_FILE not in table.columns:
        raise FormatError(f"data_{_LIST_BLOCK} lacks {_MICROGRAPH} or {_LIST_FILE}", star.path)
    picks: list[FilePicks] = []
    issues = list(star.issues)
    for name, file, line in zip(table.columns[_MICROGRAPH], table.columns[_LIST_FILE], table.lines, strict=True):
        try:
            part = _read_listed(_resolve(star.path, file, line), name, permissive)
        except FormatError as error:
            if not permissive:
                raise
            issues.append(Issue(str(error), star.path, line))
            continue
        picks += part.picks
        issues += part.issues
    return PickFile("relion", star.path, RELION_FRAME, tuple(picks), tuple(issues))


def _resolve(list_path: Path, name: str, line: int) -> Path:
    """Find a listed file: paths are relative to RELION's project folder, which lies at or above the list."""
    folders = [list_path.parent, *list_path.absolute().parents]
    for candidate in (*(folder / name for folder in folders), list_path.parent / PurePosixPath(name).name):
        if candidate.is_file():
            return candidate
    raise FormatError(f"names {name}, which is neither beside it nor in a RELION project above it", list_path, line)


def _read_listed(path: Path, micrograph: str, permissive: bool) -> PickFile:
    if path.suffix != ".star":
        raise FormatError("is listed, but only .star coordinate files are read through a list", path)
    part = read_picks(read_star(path, permissive=permissive), "relion", permissive=permissive)
    named = tuple(
        FilePicks(micrograph, p.x, p.y, score=p.score, class_id=p.class_id, extra=p.extra, source=path)
        for p in part.picks
    )
    return PickFile("relion", path, RELION_FRAME, named, part.issues, part.pixel_size_A)


def _read_suffix(path: Path, permissive: bool) -> PickFile:
    """RELION 3.x: the name of ``coords_suffix_manualpick.star`` says how the coordinate files end."""
    ending = path.name.removeprefix("coords_suffix")
    files = sorted(found for found in path.parent.rglob(f"*{ending}") if found != path)
    if not files:
        raise FormatError(f"there are no *{ending} files beside it", path)
    parts = [read_picks(read_star(file, permissive=permissive), "relion", permissive=permissive) for file in files]
    picks = tuple(pick for part in parts for pick in part.picks)
    return PickFile("relion", path, RELION_FRAME, picks, tuple(issue for part in parts for issue in part.issues))


# --- writing -------------------------------------------------------------------------------------------------------


def _file_of(pick: MicrographPicks, suffix: str) -> str:
    """Where RELION looks for a micrograph's picks: under the micrograph's own folder, or it silently finds none."""
    folders = [part for part in PurePosixPath(pick.micrograph.path).parent.parts if part not in ("/", "..", ".")]
    return "/".join([*folders, f"{pick.micrograph.name}{suffix}.star"])


def refuse_collisions(names: Iterable[str], out: Path) -> None:
    """Raise FormatError where two micrographs would be written into one file of folder ``out``."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise FormatError("two micrographs of that name would be written into one file", out / name)
        seen.add(name)


def _manual_columns(pick: MicrographPicks, options: WriteOptions) -> dict[str, list[str]]:
    columns = _positions(pick, options)
    n = len(pick)
    for label, default in _MANUAL_DEFAULTS.items():
        columns[label] = _texts(pick, label, default) if label in pick.extra else [default] * n
    if np.isfinite(pick.score).any():
        columns[_SCORE] = _scores(pick)
    if pick.class_id.any():
        columns[_CLASS] = list(map(str, pick.class_id.tolist()))
    for label in pick.extra:
        if label.startswith("rln") and label not in columns and label not in _INTERPRETED:
            columns[label] = _texts(pick, label, _filler([pick], label))
    return columns


def _positions(pick: MicrographPicks, options: WriteOptions) -> dict[str, list[str]]:
    require_finite(pick.x, pick.y, pick.micrograph.name)
    frame = RELION_FRAME if options.frame is None else options.frame
    box = 0.0 if options.box_size_px is None else options.box_size_px
    x, y = frame.from_canonical(pick.x, pick.y, height=pick.micrograph.height, box_size=box)
    return {_X: number_text(x), _Y: number_text(y)}


def _scores(pick: MicrographPicks) -> list[str]:
    return number_text(np.where(np.isfinite(pick.score), pick.score, -999.0))


def _lists(out: Path, picks: Sequence[MicrographPicks], names: list[str], suffix: str) -> dict[Path, str]:
    """The list RELION 4+ reads, and the two files 3.x reads: the suffix file and the micrographs it points to."""
    stem = suffix.lstrip("_") or "coordinates"
    if f"{stem}.star" in names:
        raise FormatError(f"a micrograph is called like the list {stem}.star; choose another suffix", out)
    rows = {
        _MICROGRAPH: [pick.micrograph.path for pick in picks],
        _LIST_FILE: [(out / name).as_posix() for name in names],
    }
    texts = {out / f"{stem}.star": format_star([(_LIST_BLOCK, rows)], version="30001")}
    if not suffix or not picks:
        return texts
    optics, groups = _optics_groups(picks, WriteOptions(), size_label="rlnMicrographPixelSize")
    table = {_MICROGRAPH: rows[_MICROGRAPH], _GROUP: [str(group[0]) for group in groups]}
    micrographs = out / f"{stem}_micrographs.star"
    texts[micrographs] = format_star([("optics", optics), ("micrographs", table)], version="30001")
    texts[out / f"coords_suffix{suffix}.star"] = f"{micrographs.as_posix()}\n"
    return texts


def _optics_groups(
    picks: Sequence[MicrographPicks], options: WriteOptions, size_label: str = "rlnMicrographOriginalPixelSize"
) -> tuple[dict[str, list[str]], list[NDArray[np.int64]]]:
    """The optics table, and for each micrograph the group number of each particle (its own where it has none)."""
    known = [pick.pixel_size_A is not None for pick in picks]
    if any(known) and not all(known):
        without = picks[known.index(False)].micrograph.name
        raise FormatError(f"{without} has no pixel size but others have; set it, RELION groups micrographs by it")
    scale = 1.0 if options.frame is None else options.frame.scale
    labels = [label for label in _OPTICS if label in _REQUIRED_OPTICS or any(label in p.extra for p in picks)]
    numbers: dict[tuple[str, ...], int] = {}
    groups: list[NDArray[np.int64]] = []
    for pick in picks:
        keys = _optics_keys(pick, labels, scale)
        groups.append(np.array([numbers.setdefault(key, len(numbers) + 1) for key in keys], dtype=np.int64))
    table = {"rlnOpticsGroupName": [f"opticsGroup{i}" for i in numbers.values()]}
    table[_GROUP] = list(map(str, numbers.values()))
    if any(known):
        table[size_label] = [key[0] for key in numbers]
    table.update({label: [key[i] for key in numbers] for i, label in enumerate(labels, 1)})
    return table, groups


def _optics_keys(pick: MicrographPicks, labels: list[str], scale: float) -> list[tuple[str, ...]]:
    """What each particle's optics group is told apart by: pixel size and the imported microscope values."""
    size = "" if pick.pixel_size_A is None else number_text(np.array([pick.pixel_size_A * scale]))[0]
    n = max(len(pick), 1)
    columns = [_texts(pick, label, "0") if label in pick.extra and len(pick) else ["0"] * n for label in labels]
    return [(size, *values) for values in zip(*columns, strict=True)]


def _particle_columns(
    picks: Sequence[MicrographPicks], groups: list[NDArray[np.int64]], options: WriteOptions
) -> dict[str, list[str]]:
    labels = [label for label in dict.fromkeys(key for pick in picks for key in pick.extra) if _is_kept(label)]
    columns: dict[str, list[str]] = {label: [] for label in (_MICROGRAPH, _X, _Y, _SCORE, _CLASS, _GROUP, *labels)}
    fill = {label: _filler(picks, label) for label in labels}
    for pick, group in zip(picks, groups, strict=True):
        n = len(pick)
        columns[_MICROGRAPH] += [pick.micrograph.path] * n
        for label, texts in _positions(pick, options).items():
            columns[label] += texts
        columns[_SCORE] += _scores(pick)
        columns[_CLASS] += map(str, pick.class_id.tolist())
        columns[_GROUP] += map(str, group[:n].tolist())
        for label in labels:
            columns[label] += _texts(pick, label, fill[label]) if label in pick.extra else [fill[label]] * n
    return columns


def _is_kept(label: str) -> bool:
    return label.startswith("rln") and label not in _OWN and label not in _OPTICS


def _texts(pick: MicrographPicks, label: str, fill: str) -> list[str]:
    """An imported column with no empty value in it: RELION has no word for one.

    A pick made by hand has none of the imported values. Where one belongs to the micrograph (its defocus, the
    microscope) and all others agree on it, the new pick has it too; else it gets ``fill``.
    """
    column: list[str] = pick.extra[label].tolist()
    if "" not in column:
        return column
    values = set(column) - {""}
    if len(values) == 1 and label.startswith(_OF_MICROGRAPH):
        fill = values.pop()
    return [text or fill for text in column]


def _filler(picks: Sequence[MicrographPicks], label: str) -> str:
    """What RELION writes where a value is not set: -999 among numbers, None among text."""
    samples = (text for pick in picks if label in pick.extra for text in pick.extra[label].tolist() if text)
    sample = next(samples, "0")
    try:
        float(sample)
    except ValueError:
        return "None"
    return "-999"


RELION = _Relion()
RELION_PARTICLES = _RelionParticles()
