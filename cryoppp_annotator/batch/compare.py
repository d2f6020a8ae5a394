"""Two coordinate sets compared on their micrographs, without a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audit.comparing import Agreement, Part, TwoSets, agreement, by_edge, by_score, compare_sets
from ..errors import Refused
from ..formats.image import images
from ..model.context import JobContext
from ..model.coordinates import FloatArray, Orientation
from .label_sets import CompareOptions, LabelSet, PlacedPicks, orientation_on_images, read_label_set
from .project_picks import project_at

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """What came out.

    Attributes
    ----------
    reference, other : str
        Names of the two sets.
    total : Agreement
    per_micrograph : mapping of micrograph file name to Agreement
        The most disagreement first.
    edge, score : tuple of Part
        Against the distance from the edge, and against the other set's score.
    sets : mapping of micrograph file name to TwoSets
        In the same order.
    paths : mapping of micrograph file name to Path
    notes : tuple of str
        What was left out or assumed, and why.
    tolerance : float, diameters
    """

    reference: str
    other: str
    total: Agreement
    per_micrograph: Mapping[str, Agreement]
    edge: tuple[Part, ...]
    score: tuple[Part, ...]
    sets: Mapping[str, TwoSets]
    paths: Mapping[str, Path]
    notes: tuple[str, ...]
    tolerance: float


def compare(reference: Path, other: Path, options: CompareOptions, *, context: JobContext = _QUIET) -> ComparisonReport:
    """Match two sets, micrograph by micrograph, wherever the reference has been.

    A micrograph that only the other set knows is left out with a note: it is not known what the reference would hold
    there. Rejected picks are in neither set, but count as candidates that a set refused.

    Parameters
    ----------
    reference, other : Path
        A coordinate file, a folder of such, a CryoPPP folder, or a project.

    Raises
    ------
    FormatError
        A file is bad or names none of the micrographs.
    Refused
        The diameter is not known, the tolerance makes no sense, or both are one set of a project.
    Cancelled
    """
    if (project_at(reference), options.reference_pick_set) == (project_at(other) or other, options.pick_set):
        raise Refused("choose two different sets to compare (--reference-set, --set)")
    by_name = options.by_name()
    context.progress(0, 3, "reading the reference")
    first, first_note = _read(
        reference, options.reference_orientation, options.reference_pick_set, by_name, options, context
    )
    context.progress(1, 3, "reading the other set")
    second, second_note = _read(other, options.orientation, options.pick_set, by_name, options, context)
    notes = [note for note in (first_note, second_note) if note] + [*first.notes, *second.notes]
    notes += _left_out(first, second)
    sets = []
    for name, mine in first.picks.items():
        context.check()
        sets.append(_two_sets(by_name[name], mine, second.picks.get(name, PlacedPicks.empty()), options))
    sets.sort(key=lambda pair: (-pair.disagreement, pair.name))
    paths = {by_name[name].name: by_name[name] for name in first.picks}
    same = reference.name == other.name  # two jobs' autopick.star: the folder tells which
    return ComparisonReport(
        first.name or _named(reference, same),
        second.name or _named(other, same),
        agreement(sets),
        {pair.name: agreement([pair]) for pair in sets},
        tuple(by_edge(sets)),
        tuple(by_score(sets)),
        {pair.name: pair for pair in sets},
        paths,
        tuple(notes),
        options.tolerance,
    )


def _named(path: Path, with_folder: bool) -> str:
    return f"{path.absolute().parent.name}/{path.name}" if with_folder else path.name


def _read(
    source: Path,
    orientation: Orientation | None,
    pick_set: str | None,
    by_name: Mapping[str, Path],
    options: CompareOptions,
    context: JobContext,
) -> tuple[LabelSet, str]:
    note = ""
    if orientation is None:
        orientation, note = orientation_on_images(
            source,
            options.micrographs,
            diameter_A=options.diameter_A,
            diameter_px=options.diameter_px,
            pixel_size_A=options.pixel_size_A,
            context=context,
        )
    return read_label_set(source, by_name, orientation=orientation, pick_set=pick_set, context=context), note


def _left_out(first: LabelSet, second: LabelSet) -> list[str]:
    notes = [f"left out: {Path(name).name} is not in the reference" for name in second.picks if name not in first.picks]
    missed = sum(name not in second.picks for name in first.picks)
    if missed:
        notes.append(f"{missed} of {len(first.picks)} micrographs of the reference have no pick in the other set")
    return notes


def _two_sets(path: Path, mine: PlacedPicks, its: PlacedPicks, options: CompareOptions) -> TwoSets:
    info = images.probe(path)
    kept = its.accepted(options.threshold)
    diameter = options.diameter_on(path, mine)
    return compare_sets(
        path.name,
        (info.height, info.width),
        diameter,
        _points(mine, ~mine.rejected),
        _points(its, kept),
        its.score[kept],
        options.tolerance,
        refused=(_points(mine, mine.rejected), _points(its, ~kept)),
    )


def _points(picks: PlacedPicks, rows: NDArray[np.bool_]) -> FloatArray:
    return np.asarray(np.column_stack([picks.x, picks.y])[rows])
