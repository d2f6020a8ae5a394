"""Coordinate files against a truth, without a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..model.context import JobContext
from ..picking.evaluate import Quality, quality
from ..picking.matching import Matches, match
from .label_sets import CompareOptions, PlacedPicks, read_label_set

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out.

    Attributes
    ----------
    total : Quality
        Over all micrographs that have a truth, with one threshold for all.
    per_micrograph : mapping of micrograph file name to Quality
    notes : tuple of str
        What was left out, and why.
    matches : mapping of micrograph file name to Matches
    """

    total: Quality
    per_micrograph: Mapping[str, Quality]
    notes: tuple[str, ...]
    matches: Mapping[str, Matches]


def evaluate(picks: Path, truth: Path, options: CompareOptions, *, context: JobContext = _QUIET) -> Evaluation:
    """Match picks with the truth, micrograph by micrograph.

    Rejected particles count neither as picks nor as truth. A micrograph with truth and without picks counts as
    missed; picks on a micrograph without truth are left out, with a note.

    Parameters
    ----------
    picks, truth : Path
        A coordinate file, a folder of such, or a CryoPPP folder.

    Raises
    ------
    FormatError
        A file is bad or names none of the micrographs.
    Refused
        The diameter is not known, or the tolerance makes no sense.
    Cancelled
    """
    by_name = options.by_name()
    real = read_label_set(truth, by_name, orientation=options.reference_orientation, context=context)
    candidates = read_label_set(picks, by_name, orientation=options.orientation, context=context)
    notes = [*real.notes, *candidates.notes]
    notes += [
        f"left out: {Path(name).name} has picks but no truth" for name in candidates.picks if name not in real.picks
    ]
    matches: dict[str, Matches] = {}
    for name, placed in real.picks.items():
        context.check()
        particles = placed.take(placed.accepted())
        mine = candidates.picks.get(name, PlacedPicks.empty())
        mine = mine.take(mine.accepted(options.threshold))
        diameter = options.diameter_on(by_name[name], particles)
        matches[Path(name).name] = match(
            mine.x, mine.y, mine.score, particles.x, particles.y, options.tolerance * diameter, Path(name).name
        )
    return Evaluation(
        quality(list(matches.values())),
        {name: quality([of_micrograph]) for name, of_micrograph in matches.items()},
        tuple(notes),
        matches,
    )
