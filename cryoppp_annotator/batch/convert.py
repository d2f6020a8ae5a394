"""Coordinate files into other coordinate files, without a project; images, where given, are asked about the frame."""

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
from ..formats import registry, relion_project
from ..formats.atomic import WouldOverwrite
from ..formats.image import images
from ..formats.image.pictures import PICTURE_EXTENSIONS, to_8bit
from ..formats.relion_optics import rows_of_groups
from ..formats.writing import write_picks
from ..model.context import JobContext
from ..model.coordinates import Orientation, angstrom_to_px
from ..model.curation import Decision
from ..model.micrograph import Micrograph
from ..model.pickfile import CoordinateFormat, Issue, MicrographPicks, PickFile, WriteOptions
from ..session.core import edits
from ..session.files.exporting import ExportReport, writable
from ..session.files.written import may_replace, remember
from .meeting import MeetingOptions, Part, meet, without_heights

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
    ask_image : bool
        Where micrographs are given and the orientation is not, test it on them; what contradicts is refused.
    by_image : bool
        What the images are sure of is taken instead of being refused.
    suffix : str
        What stands behind each micrograph's name in the names of the sources.
    relion_root : Path or None
        RELION's project folder, which names in RELION's files are relative to; None = found by walking up.
    overwrite : bool
        Whether files may be replaced that were not written by an earlier conversion or export, or edited since.
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
    ask_image: bool = True
    by_image: bool = False
    suffix: str = ""
    relion_root: Path | None = None
    overwrite: bool = False


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
        A source is bad, the target cannot hold or place its picks, or a file that is not ours would be replaced.
    Refused
        There is nothing to write, or what is needed was not said.
    Cancelled
    """
    target = writable(options.to)
    notes: list[str] = []
    files = _read(sources, options, notes, context)
    parts = meet(files, meeting_options(options), notes, context=context)
    written_frame = target.frame
    if all(part.micrograph.height == 0 for part in parts):
        parts, written_frame = without_heights(parts, target.frame)
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
        relion_root=options.relion_root or relion_project.find_root(out),
    )
    files_written, left_out = _write(target, out, picks, write_options, may_replace(out, overwrite=options.overwrite))
    notes += left_out
    remember(out, "convert", files_written)
    return ExportReport(tuple(files_written), sum(map(len, picks)), len(picks), tuple(notes))


def read_picks(
    sources: Sequence[Path], options: ConvertOptions, notes: list[str], *, context: JobContext = _QUIET
) -> list[MicrographPicks]:
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
    files = _read(sources, options, notes, context)
    return _joined(meet(files, meeting_options(options), notes, skip_unreadable=True, context=context), options)


def _read(sources: Sequence[Path], options: ConvertOptions, notes: list[str], context: JobContext) -> list[PickFile]:
    """Sources, parts of one united, in the frame that a person says they are in."""
    known = list(formats().values())
    files: list[PickFile] = []
    for i, path in enumerate(sources):
        context.progress(i, len(sources), f"reading {path.name}")
        files.append(
            registry.read_any(path.expanduser(), known, format=options.from_format, permissive=options.permissive)
        )
    files = [_as_said(file, options) for file in registry.united(files, known)]
    notes += [_issue_text(issue) for file in files for issue in file.issues]
    empty = next((file for file in files if not file.picks), None)
    if empty is not None and len(files) == 1:
        raise FormatError("holds no picks: its table has columns and no rows", empty.path)
    return files


def meeting_options(options: ConvertOptions) -> MeetingOptions:
    """What of the options is about micrographs and frames."""
    return MeetingOptions(
        options.micrographs,
        options.pixel_size_A,
        ask_image=options.ask_image and options.orientation is None,
        by_image=options.by_image,
        diameter_A=options.diameter_A,
        diameter_px=options.diameter_px,
        suffix=options.suffix,
        relion_root=options.relion_root,
    )


def _pictures(context: JobContext) -> Callable[[Micrograph], NDArray[np.uint8]]:
    """What makes the 8-bit picture that labels go with; here a micrograph's path is where it lies."""

    def picture(micrograph: Micrograph) -> NDArray[np.uint8]:
        return to_8bit(images.read(micrograph.path, micrograph.frame, check=context.check))

    return picture


def _as_said(file: PickFile, options: ConvertOptions) -> PickFile:
    """A source in the frame that a person says it is in."""
    frame = file.frame
    if options.orientation is not None:
        frame = replace(frame, orientation=options.orientation, flips_tiff=False)
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


# ---------------------------------------------------------------------- picks


def _joined(parts: Sequence[Part], options: ConvertOptions) -> list[MicrographPicks]:
    """One entry per micrograph, in the order of their first mention."""
    groups: dict[str, list[MicrographPicks]] = {}
    for part in parts:
        groups.setdefault(part.micrograph.path, []).append(_placed(part, options))
    return [_concatenated(group) for group in groups.values()]


def _placed(part: Part, options: ConvertOptions) -> MicrographPicks:
    picks, n = part.picks, len(part.picks)
    x, y = picks.positions(part.frame, part.micrograph.height, part.micrograph.path)
    nothing = np.full(n, np.nan)
    diameter = nothing if picks.diameter_px is None else np.asarray(picks.diameter_px, np.float64) * part.frame.scale
    if not n or np.isnan(diameter).any():
        diameter = np.where(np.isnan(diameter), _given_diameter_px(part, options), diameter)
    optics, optics_row = rows_of_groups(part.optics, picks.extra, n)
    return MicrographPicks(
        part.micrograph,
        part.pixel_size_A,
        x,
        y,
        diameter,
        nothing if picks.score is None else picks.score,
        np.array(np.broadcast_to(np.asarray(picks.decision, np.int8), (n,))),
        np.zeros(n, np.int32) if picks.class_id is None else picks.class_id,
        dict(picks.extra),
        part.name_there,
        optics,
        optics_row,
        regions=picks.regions_on(part.micrograph, part.frame),
    )


def _given_diameter_px(part: Part, options: ConvertOptions) -> float:
    if options.diameter_A is None:
        return np.nan if options.diameter_px is None else options.diameter_px
    if part.pixel_size_A is None:
        raise Refused(
            f"a diameter in angstrom needs the pixel size of {part.micrograph.name}"
            f"{f', and {part.doubt}' if part.doubt else ''}: give it (--pixel-size), "
            "or the diameter in px (--diameter 108px)"
        )
    return angstrom_to_px(options.diameter_A, part.pixel_size_A)


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
    optics = tuple(row for p in group for row in p.optics)
    starts = np.cumsum([0, *(len(p.optics) for p in group)])
    rows = [
        np.full(len(p), -1) if p.optics_row is None else np.where(p.optics_row < 0, -1, p.optics_row + start)
        for p, start in zip(group, starts.tolist(), strict=False)
    ]
    regions = tuple(region for p in group for region in p.regions)
    numbers = np.concatenate(rows).astype(np.int64)
    return replace(group[0], **columns, extra=extra, optics=optics, optics_row=numbers, regions=regions)


def _without_rejected(picks: Sequence[MicrographPicks], notes: list[str]) -> list[MicrographPicks]:
    n_rejected = sum(int((p.decision == Decision.REJECTED).sum()) for p in picks)
    if n_rejected in (0, sum(map(len, picks))):
        return list(picks)
    count = edits.count_of(n_rejected, "rejected pick")
    notes.append(f"left out: {count}, which this format could not tell from the others")
    return [p.take(p.decision != Decision.REJECTED) for p in picks]


# ---------------------------------------------------------------------- writing


def _write(
    target: CoordinateFormat,
    out: Path,
    picks: Sequence[MicrographPicks],
    write_options: WriteOptions,
    replaceable: Callable[[Path], bool],
) -> tuple[list[Path], list[str]]:
    """The files written, and notes on what was left out."""
    single = out.suffix.lower() in target.extensions and not target.many_micrographs
    if not single or out.is_dir():
        return write_picks(target, out, picks, write_options, may_replace=replaceable)
    if os.path.lexists(out) and not replaceable(out):
        raise WouldOverwrite([out])
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
