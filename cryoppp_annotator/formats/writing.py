"""Coordinate files of a set, whole or not at all, and nothing outside the folder that was named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import FormatError, disk_reason
from ..model.file_names import file_name_problem, printable, suffix_problem
from ..model.pickfile import CoordinateFormat, MicrographPicks, WriteOptions
from .atomic import file_set

#: So many names are listed in a note.
_NAMED = 3


def write_picks(
    target: CoordinateFormat, out: Path, picks: Sequence[MicrographPicks], options: WriteOptions
) -> tuple[list[Path], list[str]]:
    """Write picks in a format: every file of the set, or none.

    A micrograph whose name cannot be a file name is left out and named in a note; the others are written.

    Parameters
    ----------
    target : CoordinateFormat
    out : Path
        Folder, or file where the format holds many micrographs.
    picks : sequence of MicrographPicks
    options : WriteOptions

    Returns
    -------
    files : list of Path
    notes : list of str
        What was left out.

    Raises
    ------
    FormatError
        The disk refuses, the suffix is none, or the format cannot hold the picks. What was there before is intact.
    """
    problem = suffix_problem(options.suffix or "")
    if problem:
        raise FormatError(f"the suffix {printable(options.suffix or '')!r} cannot be part of a file name: {problem}")
    usable, notes = without_bad_names(picks)
    if picks and not usable:
        raise FormatError("; ".join(notes))
    is_file = target.many_micrographs and out.suffix.lower() in target.extensions
    try:
        with file_set(out.parent if is_file else out):
            files = target.write(out, usable, options)
    except OSError as error:
        raise FormatError(
            f"cannot be written ({disk_reason(error)}); nothing was written, and what was there before is intact", out
        ) from error
    return list(files), notes


def without_bad_names(picks: Sequence[MicrographPicks]) -> tuple[list[MicrographPicks], list[str]]:
    """Picks of micrographs whose names can be file names, and a note on the others."""
    problems = {pick.micrograph.name: file_name_problem(pick.micrograph.name) for pick in picks}
    bad = [name for name, problem in problems.items() if problem]
    if not bad:
        return list(picks), []
    examples = ", ".join(f"{printable(name)!r} ({problems[name]})" for name in bad[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    count = "1 micrograph" if len(bad) == 1 else f"{len(bad)} micrographs"
    note = f"left out: {count} whose name cannot be a file name: {examples}{more}"
    return [pick for pick in picks if not problems[pick.micrograph.name]], [note]
