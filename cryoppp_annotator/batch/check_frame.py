"""Do coordinate files lie on their micrographs as their format declares? The frame guard without a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import FormatError
from ..extensions import formats
from ..formats import registry
from ..formats.check import frame as frame_guard
from ..formats.image import images
from ..model.context import JobContext
from ..model.coordinates import SourceFrame
from ..model.pickfile import FilePicks, PickFile

#: Micrographs looked at; those with most picks.
SAMPLE = 5

_QUIET = JobContext()


@dataclass(frozen=True, slots=True)
class FrameOptions:
    """How to check.

    Attributes
    ----------
    micrographs : str
        Folder, pattern, or the one image the picks are of.
    format : str or None
        Format of the files; None = recognise each.
    diameter_A, diameter_px : float or None
        Of the particle, at most one; None = what the file says, or a guess.
    pixel_size_A : float or None
        Instead of what the headers say.
    permissive : bool
        Bad rows are passed over.
    suffix : str
        What stands behind each micrograph's name in the names of the files.
    """

    micrographs: str
    format: str | None = None
    diameter_A: float | None = None
    diameter_px: float | None = None
    pixel_size_A: float | None = None
    permissive: bool = False
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What the images say.

    Attributes
    ----------
    format : str
    declared : SourceFrame
        By the format.
    verdict : FrameVerdict
    tested : mapping of micrograph file name to verdict
    unmatched : tuple of str
        Names of no micrograph, or of several.
    """

    format: str
    declared: SourceFrame
    verdict: frame_guard.FrameVerdict
    tested: Mapping[str, frame_guard.FrameVerdict] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()

    @property
    def contradicted(self) -> bool:
        """Whether the images are sure of another frame."""
        return self.verdict.contradicts(self.declared)


def check(coords: Sequence[Path], options: FrameOptions, *, context: JobContext = _QUIET) -> FrameReport:
    """Test the frame of coordinate files of one format on their micrographs.

    Raises
    ------
    FormatError
        A file is bad, the files declare different frames, or they are of none of the micrographs.
    """
    files = _read(coords, options, context)
    pairs, unmatched = _meet(files, options)
    pairs.sort(key=lambda pair: -len(pair[1]))
    tested: dict[str, frame_guard.FrameVerdict] = {}
    for i, (path, picks) in enumerate(pairs[:SAMPLE]):
        context.progress(i, min(len(pairs), SAMPLE), f"looking at {path.name}")
        tested[path.name] = _test_frame(path, picks, files[0].frame, options, context)
    verdict = frame_guard.combine(list(tested.values()))
    return FrameReport(files[0].format, files[0].frame.on(pairs[0][0]), verdict, tested, tuple(unmatched))


def _read(coords: Sequence[Path], options: FrameOptions, context: JobContext) -> list[PickFile]:
    known = list(formats().values())

    def read(path: Path) -> PickFile:
        context.check()
        return registry.read_any(path, known, format=options.format, permissive=options.permissive)

    files = registry.united(registry.read_those_with_picks(coords, read)[0], known)
    kinds = {(file.format, file.frame) for file in files}
    if len(kinds) > 1:
        names = " and ".join(sorted({file.format for file in files}))
        raise FormatError(f"the files are of several formats or frames ({names}): check them one by one")
    return files


def _meet(files: Sequence[PickFile], options: FrameOptions) -> tuple[list[tuple[Path, FilePicks]], list[str]]:
    """Images with their picks, and the names of none."""
    paths = images.find_micrographs(options.micrographs)
    groups = [picks for file in files for picks in file.picks]
    if len(groups) == 1 and len(paths) == 1 and Path(options.micrographs).expanduser().is_file():
        return [(paths[0], groups[0])], []  # a person named the image
    by_name = {path.as_posix(): path for path in paths}
    match = registry.match_picks(groups, by_name, suffix=options.suffix)
    pairs = [(by_name[place], part) for place, part in zip(match.micrographs, groups, strict=True) if place]
    if not pairs:
        named = ", ".join(picks.micrograph for picks in groups[:2]) or "no micrograph"
        raise FormatError(f"holds none of the micrographs the picks are of (they name {named})", options.micrographs)
    return pairs, [*match.unmatched, *match.ambiguous]


def _test_frame(
    path: Path, picks: FilePicks, declared: SourceFrame, options: FrameOptions, context: JobContext
) -> frame_guard.FrameVerdict:
    try:
        info = images.probe(path)
        image = images.read(path, check=context.check)
    except FormatError as error:
        return frame_guard.FrameVerdict(None, reason=f"{path.name} {error.detail}")
    diameter = _diameter_px(picks, declared, info, options)
    return frame_guard.check_frame(
        image, picks.x, picks.y, diameter, box_size=picks.box_size_px, declared=declared.on(path)
    )


def _diameter_px(picks: FilePicks, declared: SourceFrame, info: images.ImageInfo, options: FrameOptions) -> float:
    """Said, or from the file, or from its boxes, or a guess; a quarter to twice the true one will do."""
    if options.diameter_px is not None:
        return options.diameter_px
    if options.diameter_A is not None:
        pixel = options.pixel_size_A or info.pixel_size_A
        if not pixel or not pixel > 0:
            raise FormatError("says no pixel size: give the diameter in px, or --pixel-size", info.path)
        return max(2.0, options.diameter_A / pixel)
    for values, part in ((picks.diameter_px, 1.0), (picks.box_size_px, 0.55)):
        if values is not None and (values > 0).any():
            return max(2.0, part * float(np.nanmedian(values)) * declared.scale)
    return max(8.0, 0.02 * max(info.width, info.height))
