"""Coordinate files into other coordinate files, without a project and without looking at an image's pixels."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FormatError, Refused, disk_reason
from ..extensions import formats
from ..formats import registry
from ..formats.image import images
from ..formats.image.pictures import PICTURE_EXTENSIONS, to_8bit
from ..formats.writing import write_picks
from ..model.context import JobContext
from ..model.coordinates import Orientation, SourceFrame
from ..model.curation import Decision
from ..model.micrograph import Micrograph, pixel_size_doubt
from ..model.pickfile import CoordinateFormat, FilePicks, Issue, MicrographPicks, PickFile, WriteOptions
from ..session.core import edits
from ..session.files.exporting import ExportReport, writable

_FLIPPED = (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y)
_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert.

    Attributes
    ----------
    to : str
        Format to write.
    from_format : str or None
        Format of the sources; None = recognise each.
    micrographs : str or None
        Folder, pattern or file: gives heights, pixel sizes and full names.
    orientation : Orientation or None
        Of the sources' axes; None = as their format declares.
    scale : float or None
        Micrograph px per px of the sources (Topaz's ``-s``, picks made on binned images); None = as declared.
    pixel_size_A : float or None
        Instead of what the headers say.
    box_size_px : float or None
    diameter_A, diameter_px : float or None
        For picks without one; at most one of the two.
    permissive : bool
        Bad rows become notes.
    template : Path or None
        For formats that fill a copy of a file; None = the source, where it is of that format.
    """

    to: str
    from_format: str | None = None
    micrographs: str | None = None
    orientation: Orientation | None = None
    pixel_size_A: float | None = None
    box_size_px: float | None = None
    diameter_A: float | None = None
    diameter_px: float | None = None
    permissive: bool = False
    scale: float | None = None
    template: Path | None = None


@dataclass(frozen=True, slots=True)
class _Part:
    """The picks of one micrograph from one source, and what is known of both."""

    micrograph: Micrograph
    picks: FilePicks
    frame: SourceFrame
    pixel_size_A: float | None


def convert(
    sources: Sequence[Path], out: Path, options: ConvertOptions, *, context: JobContext = _QUIET
) -> ExportReport:
    """Convert coordinate files.

    Between two frames of one orientation (CryoPPP to CryoPPP) no micrograph is needed; a flip needs their height.
    Where the sources hold rejected picks beside others and the format has no place for a decision, the rejected ones
    are left out.

    Parameters
    ----------
    sources : sequence of Path
        Files or CryoPPP folders.
    out : Path
        A folder; or a file, where the format writes one or the sources are of one micrograph.

    Raises
    ------
    FormatError
        A source is bad, or the target cannot hold or place its picks.
    Refused
        There is nothing to write, or what is needed was not said.
    Cancelled
    """
    target = writable(options.to)
    known = list(formats().values())
    files: list[PickFile] = []
    for i, path in enumerate(sources):
        context.progress(i, len(sources), f"reading {path.name}")
        file = registry.read_any(path.expanduser(), known, format=options.from_format, permissive=options.permissive)
        files.append(_as_said(file, options))
    notes = [_issue_text(issue) for file in files for issue in file.issues]
    parts = _meet(files, options, notes)
    written_frame = target.frame
    if all(part.micrograph.height == 0 for part in parts):
        parts, written_frame = _without_heights(parts, target.frame)
    picks = _joined(parts, options)
    if "decision" not in target.carries:
        picks = _without_rejected(picks, notes)
    if not picks:
        raise Refused("nothing to convert: no picks of these micrographs")
    context.progress(len(sources), len(sources), "writing")
    frame = None if written_frame == target.frame else written_frame
    write_options = WriteOptions(
        frame,
        None,
        options.box_size_px,
        template=options.template or _source_of(target, files),
        images=_pictures(context) if options.micrographs else None,
    )
    files_written, left_out = _write(target, out, picks, write_options)
    notes += left_out
    return ExportReport(tuple(files_written), sum(map(len, picks)), len(picks), tuple(notes))


def read_picks(sources: Sequence[Path], options: ConvertOptions, notes: list[str]) -> list[MicrographPicks]:
    """Picks of coordinate files with the micrographs they are of, one entry a micrograph, canonical frame.

    Parameters
    ----------
    sources : sequence of Path
    options : ConvertOptions
        ``to`` says nothing here.
    notes : list of str
        What was left out is appended, a micrograph that cannot be read too.

    Raises
    ------
    FormatError, Refused
    """
    known = list(formats().values())
    files = [
        _as_said(
            registry.read_any(path.expanduser(), known, format=options.from_format, permissive=options.permissive),
            options,
        )
        for path in sources
    ]
    notes += [_issue_text(issue) for file in files for issue in file.issues]
    return _joined(_meet(files, options, notes, skip_unreadable=True), options)


def _pictures(context: JobContext) -> Callable[[Micrograph], NDArray[np.uint8]]:
    """What makes the 8-bit picture that labels go with; here a micrograph's path is where it lies."""

    def picture(micrograph: Micrograph) -> NDArray[np.uint8]:
        return to_8bit(images.read(micrograph.path, micrograph.frame, check=context.check))

    return picture


def _as_said(file: PickFile, options: ConvertOptions) -> PickFile:
    """A source in the frame that a person says it is in."""
    frame = file.frame
    if options.orientation is not None:
        frame = replace(frame, orientation=options.orientation)
    if options.scale is not None:
        frame = replace(frame, scale=options.scale)
    return replace(file, frame=frame)


def _source_of(target: CoordinateFormat, files: Sequence[PickFile]) -> Path | None:
    """The one source that is of the target's own format, which a copy can be filled of."""
    own = [file.path for file in files if file.format == target.name]
    return own[0] if len(own) == 1 else None


def _issue_text(issue: Issue) -> str:
    where = "" if issue.path is None else f"{issue.path}{'' if issue.line is None else f', line {issue.line}'}: "
    return f"left out: {where}{issue.message}"


# ---------------------------------------------------------------------- micrographs


def _meet(
    files: Sequence[PickFile], options: ConvertOptions, notes: list[str], *, skip_unreadable: bool = False
) -> list[_Part]:
    """Each source's picks with the micrograph they are of."""
    if options.micrographs is None:
        return [
            _Part(_bare(p.micrograph), p, f.frame, options.pixel_size_A or f.pixel_size_A)
            for f in files
            for p in f.picks
        ]
    paths = images.find_micrographs(options.micrographs)
    by_name = {path.as_posix(): path for path in paths}
    parts: list[_Part] = []
    described: dict[str, Micrograph] = {}
    unreadable: set[str] = set()
    for file in files:
        match = registry.match_micrographs([p.micrograph for p in file.picks], by_name)
        notes += [f"left out: {name} is no micrograph of {options.micrographs}" for name in match.unmatched]
        for name, candidates in match.ambiguous.items():
            notes.append(f"left out: {name} could be {' or '.join(candidates)}")
        for picks in file.picks:
            name = match.matches.get(picks.micrograph, "")
            if name and name not in described and name not in unreadable:
                try:
                    described[name] = _described(by_name[name])
                except FormatError as error:
                    if not skip_unreadable:
                        raise
                    unreadable.add(name)
                    notes.append(f"skipped: {error}")
            if name in described:
                pixel = options.pixel_size_A or described[name].header_pixel_size_A or file.pixel_size_A
                parts.append(_Part(described[name], picks, file.frame, pixel))
    if not parts and unreadable:
        raise FormatError("not one of the micrographs with picks can be read", Path(sorted(unreadable)[0]))
    if not parts:
        named = ", ".join(p.micrograph for f in files for p in f.picks[:2])
        raise FormatError(
            f"none of its micrographs is named by the sources (they name {named})", Path(options.micrographs)
        )
    return parts


def _bare(name: str) -> Micrograph:
    """A micrograph of which only the name is known."""
    stem = images.micrograph_name(name)
    stem = registry.micrograph_key(name) if stem == name else stem
    path = name if "/" in name or stem != name else f"{stem}.mrc"
    return Micrograph(0, stem, path)


def _described(path: Path) -> Micrograph:
    """A micrograph as its header tells; a doubtful pixel size counts as unknown."""
    info = images.probe(path)
    pixel = info.pixel_size_A if not pixel_size_doubt(info.pixel_size_A) else None
    return Micrograph(0, images.micrograph_name(path), path.as_posix(), info.width, info.height, pixel)


def _without_heights(parts: Sequence[_Part], target: SourceFrame) -> tuple[list[_Part], SourceFrame]:
    """Parts and frame to write them in, where no height is known: y stays as it is, or cannot be had."""
    orientations = {part.frame.orientation for part in parts}
    if not orientations & set(_FLIPPED) and target.orientation not in _FLIPPED:
        return list(parts), target
    if orientations != {target.orientation}:
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
    return plain, replace(target, orientation=Orientation.AS_STORED)


# ---------------------------------------------------------------------- picks


def _joined(parts: Sequence[_Part], options: ConvertOptions) -> list[MicrographPicks]:
    """One entry per micrograph, in the order of their first mention."""
    groups: dict[str, list[MicrographPicks]] = {}
    for part in parts:
        groups.setdefault(part.micrograph.path, []).append(_placed(part, options))
    return [_concatenated(group) for group in groups.values()]


def _placed(part: _Part, options: ConvertOptions) -> MicrographPicks:
    picks, n = part.picks, len(part.picks)
    x, y = picks.positions(part.frame, part.micrograph.height)
    nothing = np.full(n, np.nan)
    diameter = nothing if picks.diameter_px is None else np.asarray(picks.diameter_px, np.float64) * part.frame.scale
    return MicrographPicks(
        part.micrograph,
        part.pixel_size_A,
        x,
        y,
        np.where(np.isnan(diameter), _given_diameter_px(part, options), diameter),
        nothing if picks.score is None else picks.score,
        np.array(np.broadcast_to(np.asarray(picks.decision, np.int8), (n,))),
        np.zeros(n, np.int32) if picks.class_id is None else picks.class_id,
        dict(picks.extra),
    )


def _given_diameter_px(part: _Part, options: ConvertOptions) -> float:
    if options.diameter_A is None:
        return np.nan if options.diameter_px is None else options.diameter_px
    if part.pixel_size_A is None:
        raise Refused(
            f"a diameter in angstrom needs the pixel size of {part.micrograph.name}: give it (--pixel-size), "
            "or the diameter in px (--diameter 108px)"
        )
    return options.diameter_A / part.pixel_size_A


def _concatenated(group: Sequence[MicrographPicks]) -> MicrographPicks:
    if len(group) == 1:
        return group[0]
    names = dict.fromkeys(name for p in group for name in p.extra)

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(p, name) for p in group])

    columns: dict[str, Any] = {
        name: joined(name) for name in ("x", "y", "diameter_px", "score", "decision", "class_id")
    }
    # a column that only some sources have is empty for the others' picks
    extra = {name: np.concatenate([p.extra.get(name, np.full(len(p), "")) for p in group]) for name in names}
    return replace(group[0], **columns, extra=extra)


def _without_rejected(picks: Sequence[MicrographPicks], notes: list[str]) -> list[MicrographPicks]:
    n_rejected = sum(int((p.decision == Decision.REJECTED).sum()) for p in picks)
    if n_rejected in (0, sum(map(len, picks))):
        return list(picks)
    count = edits.count_of(n_rejected, "rejected pick")
    notes.append(f"left out: {count}, which this format could not tell from the others")
    return [p.take(p.decision != Decision.REJECTED) for p in picks]


# ---------------------------------------------------------------------- writing


def _write(
    target: CoordinateFormat, out: Path, picks: Sequence[MicrographPicks], write_options: WriteOptions
) -> tuple[list[Path], list[str]]:
    """The files written, and notes on what was left out."""
    single = out.suffix.lower() in target.extensions and not target.many_micrographs
    if not single or out.is_dir():
        return write_picks(target, out, picks, write_options)
    if len(picks) > 1:
        raise Refused(f"{len(picks)} micrographs do not go into one file of this format; name a folder, not {out}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".convert-") as folder:
            written, notes = write_picks(target, Path(folder), picks, write_options)
            if any(file.suffix.lower() in PICTURE_EXTENSIONS for file in written):
                raise Refused(f"these labels are written with the pictures they are of; name a folder, not {out}")
            # of what the format writes for one micrograph, the coordinates come first
            os.replace(written[0], out)
    except OSError as error:
        raise FormatError(f"cannot be written ({disk_reason(error)})", out) from error
    return [out], notes
