"""Picks as RELION's STARs: columns, the lists that RELION 3.x and later find them by, and where the files lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError
from ..model.coordinates import RELION_FRAME
from ..model.pickfile import SPECIES_COLUMN, MicrographPicks, WriteOptions
from .relion_lists import LIST_BLOCK, LIST_FILE, SUFFIX_FILE
from .relion_optics import GROUP, OF_GROUP, optics_table
from .relion_picks import CLASS, INTERPRETED, MICROGRAPH, SCORE, X, Y
from .relion_project import after_job, name_in
from .table.star import format_star, number_text
from .table.text_rows import source_positions

PICK_SUFFIX = "_manualpick"
#: Columns that we make ourselves, so never taken from what an import kept.
_OWN = INTERPRETED | {GROUP}
#: Columns that say something of the micrograph and not of the particle, by how they begin.
_OF_MICROGRAPH = ("rlnDefocus", "rlnCtf", "rlnPhaseShift", "rlnMicrograph")
_MANUAL_DEFAULTS = {"rlnParticleSelectionType": "1", "rlnAnglePsi": "-999.0"}


def file_of(picks: Sequence[MicrographPicks], suffix: str) -> list[str]:
    """Where RELION looks for each micrograph's picks below the folder of a job, or it silently finds none.

    That is the micrograph's own place without the job in front; two micrographs that would share it keep the job.
    """
    short = [_place(after_job(pick.written_name), pick, suffix) for pick in picks]
    twice = {name for name, n in Counter(short).items() if n > 1}
    return [
        _place(pick.written_name, pick, suffix) if name in twice else name
        for name, pick in zip(short, picks, strict=True)
    ]


def _place(name: str, pick: MicrographPicks, suffix: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    folders = [part for part in path.parent.parts if part not in ("/", "..", ".") and not part.endswith(":")]
    stem = path.stem if pick.name_there else pick.micrograph.name
    return "/".join([*folders, f"{stem}{suffix}.star"])


def manual_columns(pick: MicrographPicks, options: WriteOptions) -> dict[str, list[str]]:
    """Columns of a per-micrograph STAR, as RELION's own manual picking writes them, and what an import kept."""
    columns = _positions(pick, options)
    n = len(pick)
    for label, default in _MANUAL_DEFAULTS.items():
        columns[label] = _texts(pick, label, default) if label in pick.extra else [default] * n
    if np.isfinite(pick.score).any():
        columns[SCORE] = _scores(pick)
    if pick.class_id.any():
        columns[CLASS] = list(map(str, pick.class_id.tolist()))
    if pick.species is not None:
        columns[SPECIES_COLUMN] = _species(pick)
    for label in pick.extra:
        if label.startswith("rln") and label not in columns and label not in _OWN:
            columns[label] = _texts(pick, label, _filler([pick], label))
    return columns


def _species(pick: MicrographPicks) -> list[str]:
    """What each pick's kind is called, as one word; RELION has no word for none."""
    names = [""] * len(pick) if pick.species is None else pick.species.tolist()
    return ["_".join(name.split()) or "None" for name in names]


def _positions(pick: MicrographPicks, options: WriteOptions) -> dict[str, list[str]]:
    frame = RELION_FRAME if options.frame is None else options.frame
    box = 0.0 if options.box_size_px is None else options.box_size_px
    x, y = source_positions(pick, frame, box)
    return {X: number_text(x), Y: number_text(y)}


def _scores(pick: MicrographPicks) -> list[str]:
    return number_text(np.where(np.isfinite(pick.score), pick.score, -999.0))


def coordinate_lists(
    out: Path, picks: Sequence[MicrographPicks], names: Sequence[str], suffix: str, options: WriteOptions
) -> dict[Path, str]:
    """The list RELION 4+ reads, and the two files 3.x reads: the suffix file and the micrographs it points to.

    Parameters
    ----------
    out : Path
    picks : sequence of MicrographPicks
    names : sequence of str
        File of each below ``out``.
    suffix : str
    options : WriteOptions
        Paths are relative to its ``relion_root`` where they lie below it.

    Returns
    -------
    mapping of Path to text

    Raises
    ------
    FormatError
        A micrograph's file would be called like the list.
    """
    stem = suffix.lstrip("_") or "coordinates"
    if f"{stem}.star" in names:
        raise FormatError(f"a micrograph is called like the list {stem}.star; choose another suffix", out)
    rows = {
        MICROGRAPH: [pick.written_name for pick in picks],
        LIST_FILE: [_from_root(out / name, options) for name in names],
    }
    texts = {out / f"{stem}.star": format_star([(LIST_BLOCK, rows)], version="30001")}
    if not suffix or not picks:
        return texts
    optics = optics_table(picks, WriteOptions(), of_micrographs=True)
    table = {MICROGRAPH: rows[MICROGRAPH], GROUP: [str(numbers[0]) for numbers in optics.numbers]}
    micrographs = out / f"{stem}_micrographs.star"
    texts[micrographs] = format_star([("optics", optics.columns), ("micrographs", table)], version="30001")
    texts[out / f"{SUFFIX_FILE}{suffix}.star"] = f"{_from_root(micrographs, options)}\n"
    return texts


def _from_root(path: Path, options: WriteOptions) -> str:
    """What RELION is to call a file: from its project's folder, else as it was given."""
    name = None if options.relion_root is None else name_in(options.relion_root, path)
    return name or path.as_posix()


def particle_columns(
    picks: Sequence[MicrographPicks], groups: list[NDArray[np.int64]], options: WriteOptions
) -> dict[str, list[str]]:
    """Columns of ``data_particles``, all micrographs one after another; ``groups`` (n,) has each one's group."""
    labels = [label for label in dict.fromkeys(key for pick in picks for key in pick.extra) if _is_kept(label)]
    kinds = [SPECIES_COLUMN] if any(pick.species is not None for pick in picks) else []
    columns: dict[str, list[str]] = {label: [] for label in (MICROGRAPH, X, Y, SCORE, CLASS, GROUP, *labels, *kinds)}
    fill = {label: _filler(picks, label) for label in labels}
    for pick, group in zip(picks, groups, strict=True):
        n = len(pick)
        columns[MICROGRAPH] += [pick.written_name] * n
        for label, texts in _positions(pick, options).items():
            columns[label] += texts
        columns[SCORE] += _scores(pick)
        columns[CLASS] += map(str, pick.class_id.tolist())
        columns[GROUP] += map(str, group[:n].tolist())
        for label in kinds:
            columns[label] += _species(pick)
        for label in labels:
            columns[label] += _texts(pick, label, fill[label]) if label in pick.extra else [fill[label]] * n
    return columns


def _is_kept(label: str) -> bool:
    return label.startswith("rln") and label not in _OWN and label not in OF_GROUP


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
