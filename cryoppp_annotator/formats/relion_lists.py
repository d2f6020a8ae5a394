"""RELION's lists of coordinate files: ``data_coordinate_files`` (4 on), ``coords_suffix_*`` (3.x), job folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from ..errors import FormatError
from ..model.coordinates import RELION_FRAME
from ..model.pickfile import FilePicks, Issue, PickFile
from . import relion_project
from .relion_picks import MICROGRAPH, read_picks
from .relion_project import after_job, resolve
from .table.star import ColumnReader, StarFile, StarTable
from .table.star_file import read_star
from .table.text_rows import numbered_lines, read_bounded, split_rows

LIST_BLOCK = "coordinate_files"
LIST_FILE = "rlnMicrographCoordinates"
SUFFIX_FILE = "coords_suffix"
_TEXT_WIDTHS = (2, 3, 4, 5)


#: Ends the list of micrographs that RELION's picking jobs write beside the list of the coordinate files.
_OF_MICROGRAPHS = "_micrographs"


def picks_beside(path: Path) -> Path:
    """The list of coordinate files that lies beside a picking job's list of micrographs; of another file, itself."""
    if path.suffix != ".star" or not path.stem.endswith(_OF_MICROGRAPHS):
        return path
    beside = path.with_name(f"{path.stem.removesuffix(_OF_MICROGRAPHS)}.star")
    return beside if beside.is_file() else path


def read_list(star: StarFile, table: StarTable, permissive: bool) -> PickFile:
    """Read all files that a ``data_coordinate_files`` table names.

    Raises
    ------
    FormatError
        A column is missing, or a file is missing or bad; permissively that is an issue.
    """
    if MICROGRAPH not in table.columns or LIST_FILE not in table.columns:
        raise FormatError(f"data_{LIST_BLOCK} lacks {MICROGRAPH} or {LIST_FILE}", star.path)
    parts: list[PickFile] = []
    issues = list(star.issues)
    for name, file, line in zip(table.columns[MICROGRAPH], table.columns[LIST_FILE], table.lines, strict=True):
        try:
            parts.append(read_listed(resolve(star.path, file, line), name, permissive))
        except FormatError as error:
            if not permissive:
                raise
            issues.append(Issue(str(error), star.path, line))
    return _as_one(star.path, parts, issues)


def _as_one(path: Path, parts: Sequence[PickFile], issues: Sequence[Issue] = ()) -> PickFile:
    """Files of one micrograph each as one, in their frame and with what was assumed of them.

    Raises
    ------
    FormatError
        Their frames differ.
    """
    filled = [part for part in parts if part.n_picks] or parts
    frames = {part.frame for part in filled}
    if len(frames) > 1:
        odd = next(part.path for part in filled if part.frame != filled[0].frame)
        raise FormatError(f"counts y otherwise than {filled[0].path.name}: import them one by one", odd)
    return PickFile(
        "relion",
        path,
        frames.pop() if frames else RELION_FRAME,
        tuple(picks for part in parts for picks in part.picks),
        (*issues, *(issue for part in parts for issue in part.issues)),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def read_listed(path: Path, micrograph: str, permissive: bool) -> PickFile:
    """Read one coordinate file of a list: STAR, ``.box`` or plain ``x y``, as RELION's own import takes them.

    Raises
    ------
    FormatError
        It is of no such kind, or bad.
    """
    if path.suffix.lower() == ".star":
        part = read_picks(read_star(path, permissive=permissive), "relion", permissive=permissive)
        named = tuple(replace(item, micrograph=micrograph, lines=None, layout=None) for item in part.picks)
        return replace(part, picks=named)
    picks, issues = _read_text(path, micrograph, permissive)
    return PickFile("relion", path, RELION_FRAME, (picks,), issues)


def _read_text(path: Path, micrograph: str, permissive: bool) -> tuple[FilePicks, tuple[Issue, ...]]:
    """Boxes (``x y w h``, corners) or centres (``x y``); a first line of words is a header."""
    lines = numbered_lines(read_bounded(path))
    if lines and lines[0][1].split()[:1] and not _is_number(lines[0][1].split()[0]):
        lines = lines[1:]
    is_box = path.suffix.lower() == ".box"
    widths = (4, 5) if is_box else _TEXT_WIDTHS
    rows = split_rows(
        lines, path, widths=widths, expected="x y width height" if is_box else "x y", permissive=permissive
    )
    columns = rows.named([str(i) for i in range(len(rows.columns))])
    if not rows.lines:
        return FilePicks(micrograph, np.zeros(0), np.zeros(0), source=path), tuple(rows.issues)
    reader = ColumnReader(columns, rows.lines, path, permissive)
    x, y = reader.number("0"), reader.number("1")
    if is_box:
        x, y = x + reader.number("2") / 2.0, y + reader.number("3") / 2.0
    elif "2" in columns and len(set(columns["2"])) > 1:
        raise FormatError("has a third column that differs: positions in a tomogram; this program labels 2D ones", path)
    good = reader.good
    return FilePicks(micrograph, x[good], y[good], source=path), (*rows.issues, *reader.issues)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_suffix(path: Path, permissive: bool) -> PickFile:
    """RELION 3.x: the name of ``coords_suffix_manualpick.star`` says how the coordinate files end.

    Raises
    ------
    FormatError
        There are no such files, or one is bad.
    """
    ending = path.name.removeprefix(SUFFIX_FILE)
    files = sorted(file for file in path.parent.rglob(f"*{ending}") if file != path)
    if not files:
        raise FormatError(f"there are no *{ending} files beside it", path)
    names = _names_by_place(path)
    parts: list[PickFile] = []
    for file in files:
        part = read_picks(read_star(file, permissive=permissive), "relion", permissive=permissive)
        place = file.relative_to(path.parent).as_posix().removesuffix(ending)
        own = names.get(place, place)
        named = [replace(item, micrograph=own) if item.micrograph == file.stem else item for item in part.picks]
        parts.append(replace(part, picks=tuple(named)))
    return _as_one(path, parts)


def _names_by_place(path: Path) -> dict[str, str]:
    """Micrograph names of the STAR that a suffix file points to, by where RELION looks for their picks."""
    try:
        target = path.read_text(encoding="utf-8", errors="replace").strip()
        names = relion_project.names_in_list(resolve(path, target)) if target else []
    except (OSError, FormatError):
        return {}  # the names of the coordinate files still say it
    return {PurePosixPath(after_job(name)).with_suffix("").as_posix(): name for name in names}


def read_folder(folder: Path, permissive: bool) -> PickFile:
    """Read the picks of a RELION job, or of a project with one job that has picks.

    Raises
    ------
    FormatError
        It holds no picks, or a project has several such jobs.
    """
    job = relion_project.job_of(folder)
    if job is None:
        known = [job for job in relion_project.jobs(folder) if job.has_picks]
        if len(known) != 1:
            names = ", ".join(job.name for job in known) or "none"
            raise FormatError(f"is a RELION project; name the job whose picks are meant (it has {names})", folder)
        job = known[0]
    star = read_star(job.file, permissive=permissive) if not job.file.name.startswith(SUFFIX_FILE) else None
    if star is None:
        return read_suffix(job.file, permissive)
    listed = star.table(LIST_BLOCK)
    if listed is not None:
        return read_list(star, listed, permissive)
    return read_picks(star, "relion-particles", permissive=permissive)
