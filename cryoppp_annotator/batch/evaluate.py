"""Coordinate files against a truth, without a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..formats.image import images
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
        A coordinate file, a folder of such, a CryoPPP folder, or a project.

    Raises
    ------
    FormatError
        A file is bad or names none of the micrographs.
    Refused
        The diameter is not known, or the tolerance makes no sense.
    Cancelled
    """
    by_name = options.by_name()
    real = read_label_set(
        truth,
        by_name,
        orientation=options.reference_orientation,
        pick_set=options.reference_pick_set,
        context=context,
    )
    candidates = read_label_set(
        picks, by_name, orientation=options.orientation, pick_set=options.pick_set, context=context
    )
    notes = [*real.notes, *candidates.notes]
    notes += [
        f"left out: {Path(name).name} has picks but no truth" for name in candidates.picks if name not in real.picks
    ]
    matches: dict[str, Matches] = {}
    turned: list[Matches] = []
    for name, placed in real.picks.items():
        context.check()
        particles = placed.take(placed.accepted())
        mine = candidates.picks.get(name, PlacedPicks.empty())
        mine = mine.take(mine.accepted(options.threshold))
        within = options.tolerance * options.diameter_on(by_name[name], particles)
        label, height = Path(name).name, images.probe(by_name[name]).height
        matches[label] = match(mine.x, mine.y, mine.score, particles.x, particles.y, within, label)
        turned.append(match(mine.x, height - mine.y, mine.score, particles.x, particles.y, within, label))
    notes += _upside_down(quality(list(matches.values())), quality(turned))
    return Evaluation(
        quality(list(matches.values())),
        {name: quality([of_micrograph]) for name, of_micrograph in matches.items()},
        tuple(notes),
        matches,
    )


#: Picks that are better by so much upside down are so for a reason: two files of chance agree as well either way.
_BETTER = 0.2


def _upside_down(as_read: Quality, turned: Quality) -> list[str]:
    """A note where the picks fit the truth the other way up."""
    if not turned.f1 > as_read.f1 + _BETTER:
        return []
    better = f"F1 {turned.f1:.2f} instead of {as_read.f1:.2f}"
    why = "one of the two files is read upside down; check-frame asks the images, --frame says it"
    return [f"the picks fit the truth better with y counted from the other end ({better}): {why}"]
