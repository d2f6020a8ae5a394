"""Coordinate files into a project: read and checked in the background, entered as one step."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...errors import FormatError
from ...extensions import formats
from ...formats import registry
from ...formats.check.frame import MIN_PICKS, FrameVerdict
from ...formats.check.images_say import Sample, ask_images
from ...model.context import JobContext
from ...model.coordinates import Orientation, SourceFrame
from ...model.curation import Decision
from ...model.micrograph import Micrograph
from ...model.pickfile import CoordinateFormat, FilePicks, Issue, PickFile
from ..core.session import Session
from .entering import enter, enter_and_let_go
from .import_plan import ImportPlan

__all__ = ["ImportPlan", "check", "enter", "enter_and_let_go", "read", "read_many", "typical_diameter_px"]

_QUIET = JobContext()


def read(
    session: Session,
    path: Path,
    *,
    format: str | None = None,
    orientation: Orientation | None = None,
    scale: float | None = None,
    suffix: str = "",
    permissive: bool = False,
    context: JobContext = _QUIET,
) -> ImportPlan:
    """Read a coordinate file or folder and check it against the project's micrographs.

    Parameters
    ----------
    format : str, optional
        Format name; None = recognise it.
    orientation : Orientation, optional
        What a person says of the frame; None = what the format declares, tested on the image.
    scale : float, optional
        Micrograph px per px of the file, where a person says it (Topaz's ``-s``, binned images).
    suffix : str
        What a person says stands between a micrograph's name and the extension of its coordinate file.

    Raises
    ------
    FormatError
        The file is bad, or belongs to none of the micrographs.
    """
    context.progress(0, 3, f"reading {path.name}")
    file = _read(path, list(formats().values()), format, scale, permissive, context.part(0.0, 0.3))
    return check(session, file, orientation=orientation, suffix=suffix, context=context)


def read_many(
    session: Session,
    paths: Sequence[Path],
    *,
    format: str | None = None,
    orientation: Orientation | None = None,
    scale: float | None = None,
    suffix: str = "",
    permissive: bool = False,
    context: JobContext = _QUIET,
) -> list[ImportPlan]:
    """Read coordinate files, one plan for those that belong together (one file per micrograph, for instance).

    Files of one format and frame are one import, unless two of them are about the same micrograph: those come from
    different sources. Parameters and errors as in :func:`read`; in permissive mode a file that is of no use at all is
    an issue of the others.
    """
    known = list(formats().values())
    files: list[PickFile] = []
    issues: list[Issue] = []
    for i, path in enumerate(paths):
        context.progress(i, len(paths) + 1, f"reading {path.name}")
        inner = context.part(i / (len(paths) + 1), (i + 1) / (len(paths) + 1))
        try:
            files.append(_read(path, known, format, scale, permissive, inner))
        except FormatError as error:
            if not permissive or len(paths) == 1:
                raise
            issues.append(Issue(error.detail, path, error.line))
    if not files:
        raise FormatError(f"none of {len(paths)} files could be read; the first: {issues[0].message}", issues[0].path)
    groups = _groups(registry.united(files, known), session, suffix)
    groups[0] = replace(groups[0], issues=(*issues, *groups[0].issues))
    context.progress(len(paths), len(paths) + 1, "checking the frame against the image")
    inner = context.part()
    plans = [check(session, group, orientation=orientation, suffix=suffix, context=inner) for group in groups]
    context.progress(len(paths) + 1, len(paths) + 1, "")
    return plans


def _read(
    path: Path,
    known: Sequence[CoordinateFormat],
    format: str | None,
    scale: float | None,
    permissive: bool,
    context: JobContext,
) -> PickFile:
    file = registry.read_any(path, known, format=format, permissive=permissive, context=context)
    return file if scale is None else replace(file, frame=replace(file.frame, scale=scale))


def _groups(files: Sequence[PickFile], session: Session, suffix: str) -> list[PickFile]:
    """Files that are one source, as one."""
    if len(files) == 1:
        return list(files)
    groups: list[tuple[list[PickFile], set[tuple[str, int]]]] = []
    here = [m.path for m in session.micrographs]
    for file in files:
        places = registry.match_picks(file.picks, here, suffix=suffix).micrographs
        about = {
            (place or registry.micrograph_key(p.micrograph), _kind_of(p))
            for place, p in zip(places, file.picks, strict=True)
        }
        for members, taken in groups:
            first = members[0]
            alike = (first.format, first.frame, first.optics) == (file.format, file.frame, file.optics)
            if alike and not about & taken:
                members.append(file)
                taken |= about
                break
        else:
            groups.append(([file], about))
    return [_merged(members) for members, _ in groups]


def _kind_of(picks: FilePicks) -> int:
    """What a file implies of its picks, so that a micrograph's particles and its false positives go together."""
    return int(picks.decision) if isinstance(picks.decision, Decision) else -1


def _merged(files: Sequence[PickFile]) -> PickFile:
    if len(files) == 1:
        return files[0]
    sizes = {f.pixel_size_A for f in files}
    return PickFile(
        files[0].format,
        Path(os.path.commonpath([f.path.absolute() for f in files])),
        files[0].frame,
        tuple(p for f in files for p in f.picks),
        tuple(i for f in files for i in f.issues),
        sizes.pop() if len(sizes) == 1 else None,
        next((f.pixel_size_doubt for f in files if f.pixel_size_doubt), ""),
        tuple(dict.fromkeys(note for f in files for note in f.notes)),
        files[0].optics,
        tuple(dict.fromkeys(path for f in files for path in f.companions)),
    )


def check(
    session: Session,
    file: PickFile,
    *,
    orientation: Orientation | None = None,
    suffix: str = "",
    context: JobContext = _QUIET,
) -> ImportPlan:
    """Match what was read with the project's micrographs and test its frame on their images.

    Parameters
    ----------
    orientation : Orientation, optional
        What a person says of the frame.
    suffix : str
        As for :func:`read`.

    Raises
    ------
    FormatError
        It holds no picks, or belongs to none of the micrographs.
    """
    by_path = {m.path: m for m in session.micrographs}
    match = registry.match_picks(file.picks, by_path, suffix=suffix)
    matched = tuple((by_path[place], part) for place, part in zip(match.micrographs, file.picks, strict=True) if place)
    if not matched:
        raise FormatError(_no_match(file, session, match.ambiguous), file.path)
    context.progress(1, 3, "checking the frame against the image")
    plan = ImportPlan(
        file,
        matched,
        match.unmatched,
        match.ambiguous,
        file.frame,
        FrameVerdict(None),
        False,
        file.frame,
        suffix,
    )
    if orientation is not None:
        plan = plan.with_orientation(orientation)
    verdict = _verdict(session, plan, context)
    plan = replace(plan, verdict=verdict)
    context.progress(3, 3, "")
    if orientation is None and verdict.orientation is not None and verdict.contradicts(plan.frame_here):
        turned = plan.with_orientation(verdict.orientation)
        if _display_copies(session, matched) and not verdict.contradicts(turned.frame_here):
            # 8-bit copies may lie either way up; only the image can tell
            return turned
        return replace(plan, contradicted=True)
    return plan


def _no_match(file: PickFile, session: Session, ambiguous: Mapping[str, Sequence[str]]) -> str:
    if not file.picks:
        return "holds no picks: its table has columns and no rows"
    if not file.n_picks:
        return "is empty: it holds no picks, and its name is of none of the project's micrographs"
    if ambiguous:
        name, candidates = next(iter(ambiguous.items()))
        return f"{name} could be {' or '.join(candidates)}: say which by the folder, or with --suffix"
    names = ", ".join(p.micrograph for p in file.picks[:3])
    have = ", ".join(m.name for m in session.micrographs[:2]) or "none"
    return f"its picks belong to other micrographs (it names {names}; the project has {have} ...)"


def _display_copies(session: Session, matched: Sequence[tuple[Micrograph, FilePicks]]) -> bool:
    pictures = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
    return all(session.path_of(m).name.lower().endswith(pictures) for m, _ in matched)


def _verdict(session: Session, plan: ImportPlan, context: JobContext) -> FrameVerdict:
    readable = [(m, p) for m, p in plan.matched if not m.problem and len(p) >= MIN_PICKS]
    readable.sort(key=lambda pair: (_kind_of(pair[1]) == Decision.REJECTED, -len(pair[1])))
    samples = [
        Sample(session.path_of(m), m.frame, p, typical_diameter_px(session, m, p, plan.frame)) for m, p in readable
    ]
    return ask_images(samples, plan.file.frame, context.check)


def typical_diameter_px(session: Session, micrograph: Micrograph, picks: FilePicks, frame: SourceFrame) -> float:
    """The particle's diameter in micrograph px, by the best that is known."""
    if picks.diameter_px is not None and np.isfinite(picks.diameter_px).any():
        return max(2.0, float(np.nanmedian(picks.diameter_px)) * frame.scale)
    if session.settings.diameter_is_set:
        return max(2.0, session.settings.diameter_px(micrograph))
    if picks.box_size_px is not None and (picks.box_size_px > 0).any():
        # boxes are drawn some 1.5 to 2 times the particle
        return max(2.0, 0.55 * float(np.nanmedian(picks.box_size_px)) * frame.scale)
    # the diameter is not known: half the typical distance of neighbours is of the particle's order
    return max(8.0, 0.02 * max(micrograph.width, micrograph.height))
