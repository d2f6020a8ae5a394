"""Picks that are the two ends of filaments: RELION writes them as any others, only the job's options say so.

*Pick start-end coordinates helices* (``do_startend``) of ManualPick, *Pick filaments* of Topaz (``do_topaz_filaments``)
of AutoPick, and *Coordinates are start-end only* (``do_extract_helical_tubes``) of an Extract job that takes them
(3dem/relion ``src/pipeline_jobs.cpp``): rows 1 and 2 are the first filament's ends, 3 and 4 the second's.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..model.pickfile import FilePicks, PickFile
from .table.star_file import read_star

TUBE = "rlnHelicalTubeID"
#: The column that says which end of its filament a pick is.
END = "cryopppFilamentEnd"
_ENDS = ("start", "end")
#: Options of a picking job that make it pick ends.
_PICKING = ("do_startend", "do_topaz_filaments")
#: What ``run.job`` of RELION 3.0 and earlier calls the first.
_OLD_LABEL = "pick start-end coordinates helices"
#: So far above a coordinate file its job is looked for.
_MOST_FOLDERS = 8


def with_filament_ends(file: PickFile) -> PickFile:
    """A file as it is, or, where its job picked ends of filaments, with :data:`TUBE` and :data:`END` for each pick.

    Rows that say their filament themselves are left alone.
    """
    why_of: dict[Path, str] = {}

    def why(picks: FilePicks) -> str:
        if picks.source is None or TUBE in picks.extra or not len(picks):
            return ""
        folder = picks.source.absolute().parent
        if folder not in why_of:
            why_of[folder] = _start_end_job(folder)
        return why_of[folder]

    reasons = [why(picks) for picks in file.picks]
    if not any(reasons):
        return file
    marked = tuple(_in_pairs(picks) if reason else picks for picks, reason in zip(file.picks, reasons, strict=True))
    ends = [picks for picks, reason in zip(file.picks, reasons, strict=True) if reason]
    return replace(file, picks=marked, notes=(*file.notes, _note(ends, next(filter(None, reasons)))))


def _note(ends: list[FilePicks], why: str) -> str:
    n_filaments = sum((len(picks) + 1) // 2 for picks in ends)
    odd = [picks.micrograph for picks in ends if len(picks) % 2]
    lonely = f"; {odd[0]} has an odd number of them: its last filament has no end" if odd else ""
    return (
        f"the picks are starts and ends of {n_filaments:,} filament{'s' if n_filaments != 1 else ''} ({why}), "
        f"not particles: {TUBE} keeps which, in RELION's order{lonely}"
    )


def _in_pairs(picks: FilePicks) -> FilePicks:
    rows = np.arange(len(picks))
    tubes = np.array([str(number) for number in rows // 2 + 1], np.str_)
    return replace(picks, extra={**picks.extra, TUBE: tubes, END: np.array(_ENDS, np.str_)[rows % 2]})


def _start_end_job(folder: Path) -> str:
    """Why the picks below a folder are ends of filaments; empty where nothing says so."""
    for place in (folder, *folder.parents[: _MOST_FOLDERS - 1]):
        options = _options(place)
        if options is None:
            continue
        job = f"{place.parent.name}/{place.name}"
        for name in _PICKING:
            if _is_yes(options, name):
                return f"{name} of {job}"
        return _extracted_so(place, job)
    return ""


def _extracted_so(place: Path, job: str) -> str:
    """Why, where an Extract job of the same project takes the picks of a job as ends."""
    for folder in sorted((place.parent.parent / "Extract").glob("job*")):
        options = _options(folder) or {}
        as_ends = _is_yes(options, "do_extract_helix") and _is_yes(options, "do_extract_helical_tubes")
        if as_ends and options.get("coords_suffix", "").startswith(f"{job}/"):
            return f"do_extract_helical_tubes of Extract/{folder.name}"
    return ""


def _is_yes(options: Mapping[str, str], name: str) -> bool:
    return options.get(name, "").lower() in ("yes", "true", "1")


def _options(folder: Path) -> dict[str, str] | None:
    """What a job was started with, by the names of 3.1 and later; None where the folder is no job's."""
    for file in (folder / "job.star", folder / "run.job"):
        with suppress(OSError):
            facts = file.stat()
            if stat.S_ISREG(facts.st_mode):
                return _read_options(file, facts.st_mtime_ns, facts.st_size)
    return None


@lru_cache(maxsize=1024)
def _read_options(file: Path, _mtime_ns: int, _size: int) -> dict[str, str]:
    """The options in a file; read once while it stays the same: each STAR of a folder asks for the same jobs."""
    try:
        if file.suffix == ".star":
            return _of_star(file)
        return _of_text(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, FormatError):
        return {}  # what cannot be read says nothing


def _of_star(path: Path) -> dict[str, str]:
    table = read_star(path).table("joboptions_values")
    columns = {} if table is None else table.columns
    names, values = columns.get("rlnJobOptionVariable"), columns.get("rlnJobOptionValue")
    return {} if names is None or values is None else dict(zip(names, values, strict=True))


def _of_text(text: str) -> dict[str, str]:
    pairs = (line.split("==", 1) for line in text.splitlines() if "==" in line)
    by_label = {label.strip().rstrip("?:").lower(): value.strip() for label, value in pairs}
    return {"do_startend": by_label[_OLD_LABEL]} if _OLD_LABEL in by_label else {}
