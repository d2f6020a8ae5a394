"""Coordinate files of a set, whole or not at all, and nothing outside the folder that was named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import FormatError
from ..model.curation import Decision
from ..model.file_names import file_name_problem, list_name_problem, printable, suffix_problem
from ..model.pickfile import CoordinateFormat, MicrographPicks, WriteOptions
from .atomic import whole_set
from .relion_filaments import END, TUBE

#: Formats of which a STAR names the micrographs.
_LISTS = frozenset({"relion", "relion-particles"})
#: So many names are listed in a note.
_NAMED = 3


def write_picks(
    target: CoordinateFormat,
    out: Path,
    picks: Sequence[MicrographPicks],
    options: WriteOptions,
    *,
    on_file: Callable[[int], object] = lambda _n: None,
    may_replace: Callable[[Path], bool] = lambda _path: True,
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
    on_file : callable
        Gets how many files have been begun, before each; what it raises ends the writing, and nothing is left.
    may_replace : callable
        Whether a file that is there may be replaced.

    Returns
    -------
    files : list of Path
    notes : list of str
        What was left out.

    Raises
    ------
    FormatError
        A file may not be replaced (``WouldOverwrite``), the disk refuses, the suffix
        is none, or the format cannot hold the picks. What was there before is intact.
    """
    problem = suffix_problem(options.suffix or "")
    if problem:
        raise FormatError(f"the suffix {printable(options.suffix or '')!r} cannot be part of a file name: {problem}")
    usable, notes = without_bad_names(picks, listed=target.name in _LISTS)
    if picks and not usable:
        raise FormatError("; ".join(notes))
    is_file = target.many_micrographs and out.suffix.lower() in target.extensions
    with whole_set(out.parent if is_file else out, on_file, may_replace=may_replace):
        files = target.write(out, usable, options)
    return list(files), [*notes, *lost_notes(target, usable)]


#: Imported columns that say which filament a pick is of, and the formats that write each back.
_FILAMENTS = {
    "rlnHelicalTubeID": ("relion", "relion-particles"),
    "cryolo:filamentid": ("cbox",),
    "cryolo:_filamentid": ("cbox",),
    "box:flag": ("box",),
}
_HELIX_ENDS = ("-1", "-2")


def lost_notes(target: CoordinateFormat, picks: Sequence[MicrographPicks]) -> list[str]:
    """What a format cannot say of these picks, as sentences.

    Parameters
    ----------
    target : CoordinateFormat
    picks : sequence of MicrographPicks
        What was written.
    """
    notes: list[str] = []
    n = sum(map(len, picks))
    n_rejected = sum(int((pick.decision == Decision.REJECTED).sum()) for pick in picks)
    n_accepted = sum(int((pick.decision == Decision.ACCEPTED).sum()) for pick in picks)
    if "decision" not in target.carries and n_rejected:
        rest = "" if n_rejected == n else f" among the {n:,}"
        notes.append(
            f"{n_rejected:,} rejected picks are{rest} written, and {target.name} has no place for the decision: "
            "a program that reads the files takes them for particles (--to table keeps it)"
        )
    if "curation" not in target.carries and (n_undecided := n - n_accepted - n_rejected) and n_accepted:
        notes.append(f"{n_undecided:,} of {n:,} picks are undecided, and {target.name} has no place for that")
    if "curation" not in target.carries and n_rejected:
        notes.append("reasons, curators and times are not written; --to table and --to coco have them")
    notes += [*_lost_filaments(target, picks), *_lost_species(target, picks), *_of_regions(target, picks)]
    return notes


def _of_regions(target: CoordinateFormat, picks: Sequence[MicrographPicks]) -> list[str]:
    reasons = [region.reason.label for pick in picks for region in pick.regions]
    if not reasons:
        return []
    count = f"{len(reasons):,} region{'s' if len(reasons) > 1 else ''} ({', '.join(sorted(set(reasons)))})"
    if "region" in target.carries:
        return [f"{count} written as outlines, in a supercategory of their own: they are no particles"]
    return [f"{count} not written: {target.name} has no place for outlines (--to coco and --to table have)"]


def _lost_filaments(target: CoordinateFormat, picks: Sequence[MicrographPicks]) -> list[str]:
    lost = 0
    for pick in picks:
        for label, keepers in _FILAMENTS.items():
            if label in pick.extra and target.name not in keepers:
                texts = pick.extra[label].tolist()
                lost += sum(text in _HELIX_ENDS if label == "box:flag" else text not in ("", "<NA>") for text in texts)
    if not lost:
        return _lonely_ends(picks)
    return [f"{lost:,} picks are of filaments, and {target.name} has no place for which: that is not written"]


def _lonely_ends(picks: Sequence[MicrographPicks]) -> list[str]:
    """A note on filaments of which only one end is written."""
    lonely = 0
    for pick in picks:
        if END in pick.extra and TUBE in pick.extra:
            ends = Counter(tube for tube, end in zip(pick.extra[TUBE], pick.extra[END], strict=True) if end)
            lonely += sum(n % 2 for n in ends.values())
    if not lonely:
        return []
    count = "1 filament is" if lonely == 1 else f"{lonely:,} filaments are"
    return [f"{count} written with one end only: RELION takes the rows in pairs"]


def _lost_species(target: CoordinateFormat, picks: Sequence[MicrographPicks]) -> list[str]:
    kinds = {name or "none" for pick in picks if pick.species is not None for name in pick.species.tolist()}
    if len(kinds) < 2 or "species" in target.carries:
        return []
    listed = ", ".join(sorted(kinds))
    why = f"the picks are of {len(kinds)} species ({listed}), and {target.name} has no place for which"
    return [f"{why}: that is not written; export one species, or each into a folder of its own"]


def without_bad_names(
    picks: Sequence[MicrographPicks], *, listed: bool = False
) -> tuple[list[MicrographPicks], list[str]]:
    """Picks of micrographs whose names can be file names, and a note on the others.

    Parameters
    ----------
    picks : sequence of MicrographPicks
    listed : bool
        A STAR is to name them, too.
    """
    problems = {
        pick.micrograph.name: file_name_problem(pick.micrograph.name)
        or (list_name_problem(pick.written_name) if listed else "")
        for pick in picks
    }
    bad = [name for name, problem in problems.items() if problem]
    if not bad:
        return list(picks), []
    examples = ", ".join(f"{printable(name)!r} ({problems[name]})" for name in bad[:_NAMED])
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    count = "1 micrograph" if len(bad) == 1 else f"{len(bad)} micrographs"
    note = f"left out: {count} whose name cannot be a file name: {examples}{more}"
    return [pick for pick in picks if not problems[pick.micrograph.name]], [note]
