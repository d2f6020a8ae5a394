"""Coordinate files meet the micrographs they are of, without a project: names, heights, pixel sizes, frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..errors import FormatError, Refused
from ..formats import registry, relion_project
from ..formats.check.frame import MIN_PICKS, describe
from ..formats.check.images_say import Sample, ask_images
from ..formats.image import images
from ..model.context import JobContext
from ..model.coordinates import Orientation, SourceFrame, angstrom_to_px, is_tiff
from ..model.file_note import NoteKind, without
from ..model.micrograph import Micrograph, pixel_size_doubt
from ..model.pickfile import FilePicks, PickFile

_FLIPPED = (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y)
_QUIET = JobContext()
#: 8-bit copies and TIFF may lie either way up; only the image can tell.
_EITHER_WAY_UP = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
_RELION_FORMATS = ("relion", "relion-particles")


@dataclass(frozen=True, slots=True)
class MeetingOptions:
    """How sources meet micrographs.

    Attributes
    ----------
    micrographs : str or None
        Folder, pattern or file; None = only their names are known.
    pixel_size_A : float or None
        Instead of what headers and files say.
    ask_image : bool
        Test the frame on the images.
    by_image : bool
        Take the frame the images are sure of, instead of refusing another.
    diameter_A, diameter_px : float or None
        Of the particle, for the test.
    suffix : str
        Behind each micrograph's name.
    relion_root : Path or None
        What RELION's names are relative to; None = found.
    """

    micrographs: str | None = None
    pixel_size_A: float | None = None
    ask_image: bool = True
    by_image: bool = False
    diameter_A: float | None = None
    diameter_px: float | None = None
    suffix: str = ""
    relion_root: Path | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The picks of one micrograph from one source, and what is known of both.

    Attributes
    ----------
    micrograph : Micrograph
    picks : FilePicks
    frame : SourceFrame
        Settled for this kind of image.
    pixel_size_A : float or None
        None also where it is in doubt.
    doubt : str
        Why, then.
    name_there : str
        What RELION calls the micrograph; empty where it is not known.
    optics : mapping of number to optics group
        Of the source.
    """

    micrograph: Micrograph
    picks: FilePicks
    frame: SourceFrame
    pixel_size_A: float | None
    doubt: str = ""
    name_there: str = ""
    optics: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def meet(
    files: Sequence[PickFile],
    options: MeetingOptions,
    notes: list[str],
    *,
    skip_unreadable: bool = False,
    context: JobContext = _QUIET,
) -> list[Part]:
    """Each source's picks with the micrograph they are of.

    Parameters
    ----------
    files : sequence of PickFile
    options : MeetingOptions
    notes : list of str
        What was left out, assumed or is in doubt is appended.
    skip_unreadable : bool
        A micrograph that cannot be read is noted instead of raised.

    Raises
    ------
    FormatError
        No source is of any of the micrographs, or one cannot be read.
    Refused
        The images contradict a frame.
    """
    names = _RelionNames(options.relion_root)
    if options.micrographs is None:
        bare = [_bare_part(file, picks, options, names) for file in files for picks in file.picks]
        _note_assumptions(files, bare, frozenset(), notes)
        return bare
    paths = images.find_micrographs(options.micrographs)
    by_name = {path.as_posix(): path for path in paths}
    meeting = _Meeting(by_name, options, notes, skip_unreadable, names)
    parts: list[Part] = []
    settled: set[Path] = set()
    for file in files:
        own, sure = _in_the_right_frame(meeting.parts_of(file), file, options, notes, context)
        parts += own
        if sure:
            settled.add(file.path)
    if not parts and meeting.unreadable:
        raise FormatError("not one of the micrographs with picks can be read", Path(sorted(meeting.unreadable)[0]))
    if not parts:
        if files and not any(file.n_picks for file in files):
            raise FormatError("is empty: it holds no picks, and its name is of no micrograph here", files[0].path)
        named = ", ".join(p.micrograph for f in files for p in f.picks[:2])
        raise FormatError(
            f"none of its micrographs is named by the sources (they name {named})", Path(options.micrographs)
        )
    _note_assumptions(files, parts, settled, notes)
    return parts


class _Meeting:
    """What has been found out of the micrographs so far."""

    def __init__(
        self,
        by_name: Mapping[str, Path],
        options: MeetingOptions,
        notes: list[str],
        skip_unreadable: bool,
        names: _RelionNames,
    ) -> None:
        self._by_name, self._options, self._notes = by_name, options, notes
        self._skip_unreadable, self._names = skip_unreadable, names
        self._described: dict[str, Micrograph] = {}
        self.unreadable: set[str] = set()

    def parts_of(self, file: PickFile) -> list[Part]:
        match = registry.match_picks(file.picks, self._by_name, suffix=self._options.suffix)
        self._notes += [f"left out: {name} is no micrograph of {self._options.micrographs}" for name in match.unmatched]
        for name, candidates in match.ambiguous.items():
            self._notes.append(f"left out: {name} could be {' or '.join(candidates)}")
        parts = []
        for place, picks in zip(match.micrographs, file.picks, strict=True):
            micrograph = self._micrograph(place) if place else None
            if micrograph is not None:
                pixel, doubt = _pixel_size(file, picks, micrograph, self._options)
                name = self._names.name_of(file, picks, self._by_name[place])
                frame = file.frame.on(micrograph.path)
                parts.append(Part(micrograph, picks, frame, pixel, doubt, name, file.optics))
        return parts

    def _micrograph(self, place: str) -> Micrograph | None:
        if place not in self._described and place not in self.unreadable:
            try:
                self._described[place] = _described(self._by_name[place])
            except FormatError as error:
                if not self._skip_unreadable:
                    raise
                self.unreadable.add(place)
                self._notes.append(f"skipped: {error}")
        return self._described.get(place)


def _bare_part(file: PickFile, picks: FilePicks, options: MeetingOptions, names: _RelionNames) -> Part:
    micrograph = _bare(picks.micrograph)
    pixel = options.pixel_size_A or file.known_pixel_size_A(picks)
    name = names.name_of(file, picks, None)
    doubt = "" if pixel else file.pixel_size_doubt
    return Part(micrograph, picks, file.frame.on(micrograph.path), pixel, doubt, name, file.optics)


def _bare(name: str) -> Micrograph:
    """A micrograph of which only the name is known."""
    if "\\" in name and "/" not in name:  # as Windows writes it
        name = name.replace("\\", "/")
    stem = images.micrograph_name(name)
    stem = registry.micrograph_key(name) if stem == name else stem
    path = name if "/" in name or stem != name else f"{stem}.mrc"
    return Micrograph(0, stem, path)


def _described(path: Path) -> Micrograph:
    """A micrograph as its header tells; a doubtful pixel size counts as unknown."""
    info = images.probe(path)
    pixel = info.pixel_size_A if not pixel_size_doubt(info.pixel_size_A) else None
    return Micrograph(0, images.micrograph_name(path), path.as_posix(), info.width, info.height, pixel)


class _RelionNames:
    """What RELION calls micrographs: as they came in, or by their path from the project's folder."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._roots: dict[Path, Path | None] = {}

    def name_of(self, file: PickFile, picks: FilePicks, path: Path | None) -> str:
        """Empty where it is not known."""
        if self._root is not None and path is not None:
            name = relion_project.name_in(self._root, path)
            if name is not None:
                return name
        if file.format in _RELION_FORMATS and relion_project.is_written_name(picks.micrograph):
            return picks.micrograph
        if path is None:
            return ""
        folder = path.absolute().parent
        if folder not in self._roots:
            self._roots[folder] = relion_project.find_root(folder)
        root = self._roots[folder]
        return "" if root is None else relion_project.name_in(root, path) or ""


# ---------------------------------------------------------------------- pixel sizes, and what was assumed


def _pixel_size(
    file: PickFile, picks: FilePicks, micrograph: Micrograph, options: MeetingOptions
) -> tuple[float | None, str]:
    pixel = options.pixel_size_A or micrograph.header_pixel_size_A or file.known_pixel_size_A(picks)
    return pixel, "" if pixel else file.pixel_size_doubt


def _note_assumptions(
    files: Sequence[PickFile], parts: Sequence[Part], settled: frozenset[Path] | set[Path], notes: list[str]
) -> None:
    """Say what was assumed, each once; what an image has confirmed, or a header has said, is assumed no longer."""
    doubtful = {part.picks.source for part in parts if part.doubt}
    for file in files:
        about = without(file.notes, *((NoteKind.AXES,) if file.path in settled else ()))
        if not doubtful & {picks.source for picks in file.picks}:
            about = without(about, NoteKind.PIXEL_SIZE)
        notes += [f"{file.path.name}: {note}" for note in about]
        own = [part for part in parts if part.picks.source in {picks.source for picks in file.picks}]
        if file.frame.flips_tiff and any(is_tiff(part.micrograph.path) for part in own):
            notes.append(f"{file.path.name}: {file.format} reads TIFF from the last row up; y is turned on TIFF")
        _note_other_size(file, own, notes)


def _note_other_size(file: PickFile, parts: Sequence[Part], notes: list[str]) -> None:
    for part in parts:
        stated, header = file.known_pixel_size_A(part.picks), part.micrograph.header_pixel_size_A
        if stated and header and abs(stated / header - 1.0) > 0.02:
            notes.append(
                f"check the pixel size: {file.path.name} says {stated:.4g} Å/px, {part.micrograph.name} {header:.4g}"
            )
            return


# ---------------------------------------------------------------------- frames


def _in_the_right_frame(
    parts: list[Part], file: PickFile, options: MeetingOptions, notes: list[str], context: JobContext
) -> tuple[list[Part], bool]:
    """Parts in the frame that the images do not contradict, and whether the images have decided.

    Raises
    ------
    Refused
        They contradict the declared one.
    """
    with_picks = [part for part in parts if len(part.picks) >= MIN_PICKS]
    if not (options.ask_image and with_picks):
        return parts, False
    with_picks.sort(key=lambda part: -len(part.picks))
    samples = [Sample(Path(p.micrograph.path), p.micrograph.frame, p.picks, _diameter(p, options)) for p in with_picks]
    verdict = ask_images(samples, file.frame, context.check)
    seen = verdict.frame
    if seen is None or not verdict.contradicts(with_picks[0].frame):
        return parts, seen is not None
    copies = all(part.micrograph.path.lower().endswith(_EITHER_WAY_UP) for part in parts)
    declared = with_picks[0].frame
    turned = replace(declared, orientation=seen.orientation)
    if not options.by_image and not (copies and not verdict.contradicts(turned)):
        raise Refused(
            f"{file.path.name}: the {file.format} frame puts the picks beside the particles; the image says {verdict} "
            f"(by {verdict.margin_se:.0f} standard errors). Say which is right (--frame image, or one by name)."
        )
    frame = replace(declared, orientation=seen.orientation, anchor=seen.anchor, scale=seen.scale)
    notes.append(f"{file.path.name}: read {describe(frame)}, as the image says")
    return [replace(part, frame=frame) for part in parts], True


def _diameter(part: Part, options: MeetingOptions) -> float:
    """Of the particle, micrograph px, by the best that is known; a quarter to twice the true one will do."""
    picks, scale = part.picks, part.frame.scale
    if picks.diameter_px is not None and np.isfinite(picks.diameter_px).any():
        return max(2.0, float(np.nanmedian(picks.diameter_px)) * scale)
    if options.diameter_px is not None:
        return max(2.0, options.diameter_px)
    if options.diameter_A is not None and part.pixel_size_A:
        return max(2.0, angstrom_to_px(options.diameter_A, part.pixel_size_A))
    if picks.box_size_px is not None and (picks.box_size_px > 0).any():
        return max(2.0, 0.55 * float(np.nanmedian(picks.box_size_px)) * scale)
    return max(8.0, 0.02 * max(part.micrograph.width, part.micrograph.height))


def without_heights(parts: Sequence[Part], target: SourceFrame) -> tuple[list[Part], SourceFrame]:
    """Parts and frame to write them in, where no height is known: y stays as it is, or cannot be had.

    Raises
    ------
    Refused
        y would have to be counted from the other end.
    """
    pairs = [(part.frame.orientation, target.on(part.micrograph.path).orientation) for part in parts]
    if not any(orientation in _FLIPPED for pair in pairs for orientation in pair):
        return list(parts), replace(target, flips_tiff=False)
    if any(source != written for source, written in pairs):
        raise Refused(
            "y is counted from the other end of the image in the target, which takes the micrographs' height: "
            "say where they are (--micrographs)"
        )
    # H - (H - y) = y: as if both frames were as stored, for any height
    plain = [
        replace(
            part,
            frame=replace(part.frame, orientation=Orientation.AS_STORED),
            micrograph=replace(part.micrograph, height=1),
        )
        for part in parts
    ]
    return plain, replace(target, orientation=Orientation.AS_STORED, flips_tiff=False)
