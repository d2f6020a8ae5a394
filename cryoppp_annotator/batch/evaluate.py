"""Coordinate files against a truth, without a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import Refused
from ..model.context import JobContext
from ..model.coordinates import Orientation
from ..picking.evaluate import Quality, quality
from ..picking.matching import Matches, match
from .label_sets import PlacedPicks, diameter_on, micrographs_by_name, read_label_set

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """How to evaluate.

    Attributes
    ----------
    micrographs : str
        Folder or pattern.
    tolerance : float
        Largest distance of a pick from its particle, diameters.
    diameter_A, diameter_px : float or None
        At most one; None = what the truth says.
    pixel_size_A : float or None
        Instead of what the headers say.
    orientation, truth_orientation : Orientation or None
        Of the axes of the picks and of the truth; None = as their format declares.
    threshold : float or None
        Picks with a lower score are left out.
    """

    micrographs: str
    tolerance: float = 0.3
    diameter_A: float | None = None
    diameter_px: float | None = None
    pixel_size_A: float | None = None
    orientation: Orientation | None = None
    truth_orientation: Orientation | None = None
    threshold: float | None = None


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


def evaluate(picks: Path, truth: Path, options: EvaluateOptions, *, context: JobContext = _QUIET) -> Evaluation:
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
    if not (np.isfinite(options.tolerance) and options.tolerance > 0):
        raise Refused(f"a tolerance of {options.tolerance:g} diameters makes no sense")
    by_name = micrographs_by_name(options.micrographs)
    real = read_label_set(truth, by_name, orientation=options.truth_orientation, context=context)
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
        diameter = diameter_on(by_name[name], particles, options.diameter_A, options.diameter_px, options.pixel_size_A)
        matches[Path(name).name] = match(
            mine.x, mine.y, mine.score, particles.x, particles.y, options.tolerance * diameter, Path(name).name
        )
    return Evaluation(
        quality(list(matches.values())),
        {name: quality([of_micrograph]) for name, of_micrograph in matches.items()},
        tuple(notes),
        matches,
    )
