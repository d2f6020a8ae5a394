"""Coordinate files against a truth, without a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import FormatError, Refused
from ..extensions import formats
from ..formats import registry
from ..formats.image import images
from ..model.context import JobContext
from ..model.coordinates import Anchor, FloatArray, Orientation, SourceFrame
from ..model.curation import Decision
from ..model.pickfile import CoordinateFormat, FilePicks
from ..picking.evaluate import Quality, quality
from ..picking.matching import Matches, match

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


@dataclass(frozen=True, slots=True)
class _Placed:
    """Picks of one micrograph, canonical px."""

    x: FloatArray
    y: FloatArray
    score: FloatArray
    diameter_px: float


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
    by_name = {path.as_posix(): path for path in images.find_micrographs(options.micrographs)}
    if not by_name:
        raise FormatError("holds no micrographs", options.micrographs)
    notes: list[str] = []
    real = _placed(truth, by_name, options, options.truth_orientation, notes, context)
    candidates = _placed(picks, by_name, options, options.orientation, notes, context)
    notes += [f"left out: {Path(name).name} has picks but no truth" for name in candidates if name not in real]
    matches: dict[str, Matches] = {}
    for name, particles in real.items():
        context.check()
        mine = candidates.get(name, _Placed(np.zeros(0), np.zeros(0), np.zeros(0), np.nan))
        if options.threshold is not None:
            good = mine.score >= options.threshold
            mine = replace(mine, x=mine.x[good], y=mine.y[good], score=mine.score[good])
        diameter = _diameter_px(by_name[name], particles, options)
        matches[Path(name).name] = match(
            mine.x, mine.y, mine.score, particles.x, particles.y, options.tolerance * diameter, Path(name).name
        )
    return Evaluation(
        quality(list(matches.values())), {name: quality([one]) for name, one in matches.items()}, tuple(notes), matches
    )


def _placed(
    source: Path,
    by_name: Mapping[str, Path],
    options: EvaluateOptions,
    orientation: Orientation | None,
    notes: list[str],
    context: JobContext,
) -> dict[str, _Placed]:
    known = list(formats().values())
    groups: list[tuple[FilePicks, SourceFrame]] = []
    for path in _files(source, known):
        context.check()
        file = registry.read_any(path, known)
        frame = file.frame if orientation is None else replace(file.frame, orientation=orientation)
        groups += [(part, frame) for part in file.picks]
    match_ = registry.match_micrographs([part.micrograph for part, _ in groups], by_name)
    out: dict[str, list[_Placed]] = {}
    for part, frame in groups:
        name = match_.matches.get(part.micrograph)
        if name is not None:
            out.setdefault(name, []).append(_canonical(part, frame, by_name[name]))
    notes += [f"left out: {name} is no micrograph of {options.micrographs}" for name in match_.unmatched]
    notes += [f"left out: {name} could be {' or '.join(several)}" for name, several in match_.ambiguous.items()]
    if not out:
        named = ", ".join(part.micrograph for part, _ in groups[:2]) or "no micrograph"
        raise FormatError(f"is of none of the micrographs in {options.micrographs} (it names {named})", source)
    return {name: _joined(parts) for name, parts in out.items()}


def _files(source: Path, known: Sequence[CoordinateFormat]) -> list[Path]:
    source = source.expanduser()
    if not source.is_dir() or registry.sniff(source, known):
        return [source]
    endings = {ending for fmt in known for ending in fmt.extensions}
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in endings and path.is_file())
    files = [path for path in files if not path.name.startswith(".") and registry.sniff(path, known)]
    if not files:
        raise FormatError("holds no coordinate files", source)
    return files


def _canonical(part: FilePicks, frame: SourceFrame, path: Path) -> _Placed:
    if frame.anchor is Anchor.CORNER and part.box_size_px is None:
        raise FormatError("gives box corners without a box size", part.source)
    box = 0.0 if part.box_size_px is None else part.box_size_px
    x, y = frame.to_canonical(part.x, part.y, height=images.probe(path).height, box_size=box)
    score = np.full(len(part), np.nan) if part.score is None else np.asarray(part.score, np.float64)
    good = np.broadcast_to(np.asarray(part.decision, np.int8), (len(part),)) != Decision.REJECTED
    sizes = np.zeros(0) if part.diameter_px is None else part.diameter_px[part.diameter_px > 0]
    diameter = float(np.median(sizes)) * frame.scale if len(sizes) else np.nan
    return _Placed(x[good], y[good], score[good], diameter)


def _joined(parts: Sequence[_Placed]) -> _Placed:
    sizes = [part.diameter_px for part in parts if np.isfinite(part.diameter_px)]
    return _Placed(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.score for part in parts]),
        sizes[0] if sizes else np.nan,
    )


def _diameter_px(path: Path, truth: _Placed, options: EvaluateOptions) -> float:
    if options.diameter_px is not None:
        return options.diameter_px
    if options.diameter_A is not None:
        pixel = options.pixel_size_A or images.probe(path).pixel_size_A
        if not pixel or not pixel > 0:
            raise Refused(f"{path} says no pixel size: give it (--pixel-size), or the diameter in px")
        return options.diameter_A / pixel
    if not truth.diameter_px > 0:
        raise Refused("the truth says no diameter: give it (--diameter)")
    return truth.diameter_px
