"""Coordinate files as sets of picks on their micrographs, canonical px: what is compared, judged or searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, Refused
from ..extensions import formats
from ..formats import registry
from ..formats.image import images
from ..model.context import JobContext
from ..model.coordinates import FloatArray, Orientation, SourceFrame
from ..model.curation import Decision
from ..model.file_note import NoteKind, without
from ..model.pickfile import CoordinateFormat, FilePicks, PickFile
from . import check_frame
from .project_picks import project_at, read_project_picks

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How two label sets are read and matched; the reference of an evaluation is the truth.

    Attributes
    ----------
    micrographs : str
        Folder or pattern.
    tolerance : float
        Largest distance of two picks of one particle, diameters.
    diameter_A, diameter_px : float or None
        At most one; None = what the reference says.
    pixel_size_A : float or None
        Instead of what the headers say.
    orientation, reference_orientation : Orientation or None
        Of the axes of the other set and of the reference; None = as their format declares (``compare`` also asks the
        images, where they are sure that it is not so).
    threshold : float or None
        Picks of the other set with a lower score count as refused.
    pick_set, reference_pick_set : str or None
        Name or number of the set, where the other or the reference is a project; None = its accepted picks.
    """

    micrographs: str
    tolerance: float = 0.3
    diameter_A: float | None = None
    diameter_px: float | None = None
    pixel_size_A: float | None = None
    orientation: Orientation | None = None
    reference_orientation: Orientation | None = None
    threshold: float | None = None
    pick_set: str | None = None
    reference_pick_set: str | None = None

    def by_name(self) -> dict[str, Path]:
        """The micrographs by name. Raises Refused where the tolerance makes no sense or there are no micrographs."""
        if not (np.isfinite(self.tolerance) and self.tolerance > 0):
            raise Refused(f"a tolerance of {self.tolerance:g} diameters makes no sense")
        return micrographs_by_name(self.micrographs)

    def diameter_on(self, path: Path, reference: PlacedPicks) -> float:
        """Diameter of the particle on a micrograph, px. Raises Refused where it is not known."""
        return diameter_on(path, reference, self.diameter_A, self.diameter_px, self.pixel_size_A)


@dataclass(frozen=True, eq=False)
class PlacedPicks:
    """Picks of one micrograph.

    Attributes
    ----------
    x, y : (n,) float64, canonical px
    score : (n,) float64
        NaN where there is none.
    rejected : (n,) bool
    diameter_px : float
        Of the particle, as the file says; NaN where it does not.
    """

    x: FloatArray
    y: FloatArray
    score: FloatArray
    rejected: NDArray[np.bool_]
    diameter_px: float = float("nan")

    @staticmethod
    def empty() -> PlacedPicks:
        """No picks."""
        return PlacedPicks(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))

    def take(self, rows: NDArray[np.bool_]) -> PlacedPicks:
        """Some of them, by a mask (n,)."""
        return replace(self, x=self.x[rows], y=self.y[rows], score=self.score[rows], rejected=self.rejected[rows])

    def accepted(self, threshold: float | None = None) -> NDArray[np.bool_]:
        """Which are not rejected, and reach the threshold where one is given, (n,) bool."""
        good = ~self.rejected
        return good if threshold is None else np.asarray(good & (self.score >= threshold), np.bool_)


@dataclass(frozen=True, eq=False)
class LabelSet:
    """Picks of several micrographs.

    Attributes
    ----------
    picks : mapping of micrograph path (posix) to PlacedPicks
    notes : tuple of str
        What was left out or assumed, and why.
    name : str
        What it is called, where it is a project's; empty = as the file.
    """

    picks: Mapping[str, PlacedPicks]
    notes: tuple[str, ...] = ()
    name: str = ""


def micrographs_by_name(micrographs: str) -> dict[str, Path]:
    """Path of each micrograph by its posix name. Raises FormatError where there are none."""
    by_name = {path.as_posix(): path for path in images.find_micrographs(micrographs)}
    if not by_name:
        raise FormatError("holds no micrographs", micrographs)
    return by_name


def read_label_set(
    source: Path,
    by_name: Mapping[str, Path],
    *,
    orientation: Orientation | None = None,
    pick_set: str | None = None,
    failed: dict[str, str] | None = None,
    context: JobContext = _QUIET,
) -> LabelSet:
    """Read picks and lay them on their micrographs.

    Parameters
    ----------
    source : Path
        A coordinate file, a folder of such, a CryoPPP folder, or a project.
    by_name : mapping of posix name to path
        The micrographs.
    orientation : Orientation, optional
        Of the axes; None = as the format declares.
    pick_set : str, optional
        Of a project: name or number of the set; its accepted picks by default.
    failed : dict, optional
        Gets the reason of each micrograph that cannot be read, by its path; without it such a one is an error.

    Raises
    ------
    FormatError
        A file is bad or names none of the micrographs.
    ProjectError
        The project cannot be read.
    Refused
        A pick set was asked of a file, axes of a project, or the project has no such set.
    Cancelled
    """
    if (project := project_at(source)) is not None:
        return _of_project(project, pick_set, by_name, orientation, context)
    if pick_set is not None:
        raise Refused(f"{source} is no project, so it has no pick set {pick_set!r}")
    known = list(formats().values())
    groups: list[tuple[FilePicks, SourceFrame]] = []

    def read(path: Path) -> PickFile:
        context.check()
        return registry.read_any(path, known)

    files, passed_over = registry.read_those_with_picks(coordinate_files(source, known), read)
    notes = list(passed_over)
    for file in registry.united(files, known):
        notes += [f"{file.path.name}: {note}" for note in _open_notes(file, orientation)]
        frame = file.frame
        if orientation is not None:
            frame = replace(frame, orientation=orientation, flips_tiff=False)
        groups += [(part, frame) for part in file.picks]
    matches = registry.match_picks([part for part, _ in groups], by_name)
    placed: dict[str, list[PlacedPicks]] = {}
    for name, (part, frame) in zip(matches.micrographs, groups, strict=True):
        if not name:
            continue
        try:
            placed.setdefault(name, []).append(_canonical(part, frame, by_name[name]))
        except FormatError as error:
            if failed is None or error.path != by_name[name]:
                raise
            failed[str(by_name[name])] = str(error)
            placed.pop(name, None)
    notes += [f"left out: {name} is none of the micrographs" for name in matches.unmatched]
    notes += [f"left out: {name} could be {' or '.join(several)}" for name, several in matches.ambiguous.items()]
    if not placed:
        named = ", ".join(part.micrograph for part, _ in groups[:2]) or "no micrograph"
        raise FormatError(f"is of none of the micrographs (it names {named})", source)
    return LabelSet({name: _joined(parts) for name, parts in placed.items()}, tuple(dict.fromkeys(notes)))


def _of_project(
    project: Path,
    pick_set: str | None,
    by_name: Mapping[str, Path],
    orientation: Orientation | None,
    context: JobContext,
) -> LabelSet:
    if orientation is not None:
        raise Refused(f"the picks of a project need no frame: {project} has them as the images lie")
    read = read_project_picks(project, pick_set, by_name, context)
    picks = {}
    for name, (kept, refused, diameter) in read.picks.items():
        columns = [np.concatenate([getattr(kept, c), getattr(refused, c)]) for c in ("x", "y", "score")]
        x, y, score = (np.asarray(column, np.float64) for column in columns)
        picks[name] = PlacedPicks(x, y, score, np.arange(len(x)) >= len(kept), diameter)
    return LabelSet(picks, read.notes, read.name)


def _open_notes(file: PickFile, orientation: Orientation | None) -> tuple[str, ...]:
    """What was assumed and makes a difference: no pixel size does, nor do axes that somebody has settled."""
    settled = (NoteKind.AXES,) if orientation is not None else ()
    return without(file.notes, NoteKind.PIXEL_SIZE, *settled)


def orientation_on_images(
    source: Path,
    micrographs: str,
    *,
    diameter_A: float | None,
    diameter_px: float | None,
    pixel_size_A: float | None,
    context: JobContext = _QUIET,
) -> tuple[Orientation | None, str]:
    """Which way the axes run, where the images contradict the format and are sure of it; and a note that says so.

    None where the format is right, the images cannot tell, or it is a project. Raises FormatError or Cancelled.
    """
    if project_at(source) is not None:
        return None, ""
    options = check_frame.FrameOptions(
        micrographs, diameter_A=diameter_A, diameter_px=diameter_px, pixel_size_A=pixel_size_A, permissive=True
    )
    files = coordinate_files(source, list(formats().values()))
    report = check_frame.check(files, options, context=context)
    verdict = report.verdict
    if verdict.orientation is None or verdict.orientation is report.declared.orientation:
        return None, ""
    return verdict.orientation, (
        f"{source}: {report.format} declares {report.declared.orientation.value}, but on the images the picks fit "
        f"{verdict.orientation.value} (by {verdict.margin_se:.1f} standard errors): they are read so"
    )


def coordinate_files(source: Path, known: Sequence[CoordinateFormat]) -> list[Path]:
    """The coordinate files a path means: itself, or those in a folder. Raises FormatError where there are none."""
    source = source.expanduser()
    if not source.is_dir() or registry.sniff(source, known):
        return [source]
    endings = {ending for fmt in known for ending in fmt.extensions}
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in endings and path.is_file())
    files = [path for path in files if not path.name.startswith(".") and registry.sniff(path, known)]
    if not files:
        raise FormatError("holds no coordinate files", source)
    return files


def _canonical(part: FilePicks, frame: SourceFrame, path: Path) -> PlacedPicks:
    x, y = part.positions(frame, images.probe(path).height, path)
    score = np.full(len(part), np.nan) if part.score is None else np.asarray(part.score, np.float64)
    rejected = np.broadcast_to(np.asarray(part.decision, np.int8), (len(part),)) == Decision.REJECTED
    sizes = np.zeros(0) if part.diameter_px is None else part.diameter_px[part.diameter_px > 0]
    diameter = float(np.median(sizes)) * frame.scale if len(sizes) else np.nan
    return PlacedPicks(x, y, score, np.asarray(rejected, np.bool_), diameter)


def _joined(parts: Sequence[PlacedPicks]) -> PlacedPicks:
    sizes = [part.diameter_px for part in parts if np.isfinite(part.diameter_px)]
    return PlacedPicks(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.rejected for part in parts]),
        sizes[0] if sizes else float("nan"),
    )


def diameter_on(
    path: Path, picks: PlacedPicks, diameter_A: float | None, diameter_px: float | None, pixel_size_A: float | None
) -> float:
    """Diameter of the particle on a micrograph, px: as given, or as the picks say. Raises Refused where none is."""
    if diameter_px is not None:
        return diameter_px
    if diameter_A is not None:
        pixel = pixel_size_A or images.probe(path).pixel_size_A
        if not pixel or not pixel > 0:
            raise Refused(f"{path} says no pixel size: give it (--pixel-size), or the diameter in px")
        return diameter_A / pixel
    if not picks.diameter_px > 0:
        raise Refused("the truth says no diameter: give it (--diameter)")
    return picks.diameter_px
