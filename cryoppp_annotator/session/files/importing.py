"""Coordinate files into a project: read and checked in the background, entered as one step."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError, Refused
from ...extensions import formats
from ...formats import registry
from ...formats.check import frame as frame_guard
from ...formats.image import images
from ...model.context import JobContext
from ...model.coordinates import Orientation, SourceFrame
from ...model.curation import Change, Decision, Delta, Reason
from ...model.message import Message
from ...model.micrograph import Micrograph
from ...model.pickfile import CoordinateFormat, FilePicks, Issue, PickFile
from ...store.store import Connection, Store
from ..core import edits
from ..core.session import Session
from ..core.step import Done, Queued, Result, Step

#: Micrographs the frame of an import is tested on.
FRAME_SAMPLE = 3

_QUIET = JobContext()


@dataclass(frozen=True, eq=False)
class ImportPlan:
    """A coordinate file read, matched and checked, not yet in the project.

    Attributes
    ----------
    file : PickFile
    matched : tuple of (micrograph, picks)
    unmatched : tuple of str
        Names of no micrograph here.
    ambiguous : mapping of name to candidates
    frame : SourceFrame
        The frame the picks will be read in.
    verdict : FrameVerdict
        What the images say of it.
    contradicted : bool
        The image says another frame than the format, and only a person can settle it.
    """

    file: PickFile
    matched: tuple[tuple[Micrograph, FilePicks], ...]
    unmatched: tuple[str, ...]
    ambiguous: Mapping[str, tuple[str, ...]]
    frame: SourceFrame
    verdict: frame_guard.FrameVerdict
    contradicted: bool = False
    declared: SourceFrame = field(default_factory=SourceFrame)

    @property
    def n_picks(self) -> int:
        """Picks that will enter the project."""
        return sum(len(p) for _, p in self.placeable)

    @property
    def placeable(self) -> tuple[tuple[Micrograph, FilePicks], ...]:
        """What can be entered: a flipped y means nothing on a micrograph of unknown height."""
        if self.frame.orientation not in (Orientation.FLIP_Y, Orientation.SWAP_FLIP_Y):
            return self.matched
        return tuple((m, p) for m, p in self.matched if m.height > 0)

    @property
    def contradiction(self) -> str:
        """Why a person must settle the frame before this can be entered; empty where nothing is in doubt."""
        if not self.contradicted or self.verdict.orientation is None:
            return ""
        return (
            f"{self.file.path.name}: the {self.file.format} frame puts the picks beside the particles; the image says "
            f"{self.verdict} (by {self.verdict.margin_se:.0f} standard errors). "
            "Say which is right (--frame image, or one by name)."
        )

    def with_orientation(self, orientation: Orientation) -> ImportPlan:
        """The same with the person's answer about the frame.

        An answer that is the image's and not the format's takes the image's anchor and scale too.
        """
        if self.contradicted and orientation is self.verdict.orientation is not self.frame.orientation:
            return self.as_imaged()
        return replace(self, frame=replace(self.frame, orientation=orientation), contradicted=False)

    def as_imaged(self) -> ImportPlan:
        """The same, read as the image says: orientation, anchor and scale. Nothing changes where it is undecided."""
        imaged = self.verdict.frame
        if imaged is None:
            return self
        frame = replace(self.frame, orientation=imaged.orientation, anchor=imaged.anchor, scale=imaged.scale)
        return replace(self, frame=frame, contradicted=False)

    def as_the_format_says(self) -> ImportPlan:
        """The same in the declared frame, whatever the image says."""
        return replace(self, frame=self.declared, contradicted=False)

    def frame_message(self) -> str:
        """One clause about the frame for the status line."""
        name = f"{self.file.format} frame"
        if self.verdict.orientation is None:
            return f"{name}, not checked against the image ({self.verdict.reason})"
        if not self.verdict.contradicts(self.frame):
            how = "confirmed on the image"
            if self.verdict.contradicts(self.declared):
                how = f"read {frame_guard.describe(self.frame)}, as the image says"
            return f"{name}, {how}"
        return f"{name}, but the image says {self.verdict}"


def read(
    session: Session,
    path: Path,
    *,
    format: str | None = None,
    orientation: Orientation | None = None,
    scale: float | None = None,
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

    Raises
    ------
    FormatError
        The file is bad, or belongs to none of the micrographs.
    """
    context.progress(0, 3, f"reading {path.name}")
    file = _read(path, list(formats().values()), format, scale, permissive)
    return check(session, file, orientation=orientation, context=context)


def read_many(
    session: Session,
    paths: Sequence[Path],
    *,
    format: str | None = None,
    orientation: Orientation | None = None,
    scale: float | None = None,
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
        try:
            files.append(_read(path, known, format, scale, permissive))
        except FormatError as error:
            if not permissive or len(paths) == 1:
                raise
            issues.append(Issue(error.detail, path, error.line))
    if not files:
        raise FormatError(f"none of {len(paths)} files could be read; the first: {issues[0].message}", issues[0].path)
    groups = _groups(files)
    groups[0] = replace(groups[0], issues=(*issues, *groups[0].issues))
    context.progress(len(paths), len(paths) + 1, "checking the frame against the image")
    inner = context.part()
    plans = [check(session, group, orientation=orientation, context=inner) for group in groups]
    context.progress(len(paths) + 1, len(paths) + 1, "")
    return plans


def _read(
    path: Path, known: Sequence[CoordinateFormat], format: str | None, scale: float | None, permissive: bool
) -> PickFile:
    file = registry.read_any(path, known, format=format, permissive=permissive)
    return file if scale is None else replace(file, frame=replace(file.frame, scale=scale))


def _groups(files: Sequence[PickFile]) -> list[PickFile]:
    """Files that are one source, as one."""
    groups: list[tuple[list[PickFile], set[tuple[str, int]]]] = []
    for file in files:
        about = {(registry.micrograph_key(p.micrograph), _kind_of(p)) for p in file.picks}
        for members, taken in groups:
            first = members[0]
            if (first.format, first.frame) == (file.format, file.frame) and not about & taken:
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
    )


def check(
    session: Session, file: PickFile, *, orientation: Orientation | None = None, context: JobContext = _QUIET
) -> ImportPlan:
    """Match what was read with the project's micrographs and test its frame on their images.

    Parameters
    ----------
    orientation : Orientation, optional
        What a person says of the frame.

    Raises
    ------
    FormatError
        It belongs to none of the micrographs.
    """
    by_path = {m.path: m for m in session.micrographs}
    match = registry.match_micrographs([p.micrograph for p in file.picks], by_path)
    matched = tuple((by_path[match.matches[p.micrograph]], p) for p in file.picks if p.micrograph in match.matches)
    if not matched:
        raise FormatError(_no_match(file, session), file.path)
    context.progress(1, 3, "checking the frame against the image")
    plan = ImportPlan(
        file,
        matched,
        match.unmatched,
        match.ambiguous,
        file.frame,
        frame_guard.FrameVerdict(None),
        False,
        file.frame,
    )
    if orientation is not None:
        plan = plan.with_orientation(orientation)
    verdict = _verdict(session, plan, context)
    plan = replace(plan, verdict=verdict)
    context.progress(3, 3, "")
    if orientation is None and verdict.orientation is not None and verdict.contradicts(plan.frame):
        turned = plan.with_orientation(verdict.orientation)
        if _display_copies(session, matched) and not verdict.contradicts(turned.frame):
            # 8-bit copies may lie either way up; only the image can tell
            return turned
        return replace(plan, contradicted=True)
    return plan


def _no_match(file: PickFile, session: Session) -> str:
    names = ", ".join(p.micrograph for p in file.picks[:3]) or "no micrograph"
    have = ", ".join(m.name for m in session.micrographs[:2]) or "none"
    return f"its picks belong to other micrographs (it names {names}; the project has {have} ...)"


def _display_copies(session: Session, matched: Sequence[tuple[Micrograph, FilePicks]]) -> bool:
    pictures = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
    return all(session.path_of(m).name.lower().endswith(pictures) for m, _ in matched)


def _verdict(session: Session, plan: ImportPlan, context: JobContext) -> frame_guard.FrameVerdict:
    readable = [(m, p) for m, p in plan.matched if not m.problem and len(p) >= frame_guard.MIN_PICKS]
    readable.sort(key=lambda pair: (_kind_of(pair[1]) == Decision.REJECTED, -len(pair[1])))
    verdicts = []
    why = "too few picks"
    for micrograph, picks in readable[:FRAME_SAMPLE]:
        context.check()
        try:
            image = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
        except FormatError as error:
            why = error.detail
            continue
        diameter = typical_diameter_px(session, micrograph, picks, plan.frame)
        verdicts.append(
            frame_guard.check_frame(
                image, picks.x, picks.y, diameter, box_size=picks.box_size_px, declared=plan.file.frame
            )
        )
    return frame_guard.combine(verdicts) if verdicts else frame_guard.FrameVerdict(None, reason=why)


def typical_diameter_px(session: Session, micrograph: Micrograph, picks: FilePicks, frame: SourceFrame) -> float:
    """The particle's diameter in micrograph px, by the best that is known."""
    if picks.diameter_px is not None and np.isfinite(picks.diameter_px).any():
        return max(2.0, float(np.nanmedian(picks.diameter_px)) * frame.scale)
    if session.settings.diameter_is_set:
        return max(2.0, session.settings.diameter_px(micrograph))
    if picks.box_size_px is not None and (picks.box_size_px > 0).any():
        # boxes are drawn some 1.5 to 2 times the particle
        return max(2.0, 0.55 * float(np.nanmedian(picks.box_size_px)) * frame.scale)
    # nobody said: half the typical distance of neighbours is of the particle's order
    return max(8.0, 0.02 * max(micrograph.width, micrograph.height))


# ---------------------------------------------------------------------- entering the project


def enter(
    session: Session,
    plan: ImportPlan,
    *,
    decision: Decision | None = None,
    again: bool = False,
    name: str | None = None,
    then: Callable[[str | None], object] = lambda line: None,
) -> str:
    """Enter an import as one step that can be undone. Returns the line for the status bar.

    A window's many picks are entered in the background (:meth:`Session.commit`).

    Parameters
    ----------
    decision : Decision, optional
        Given to picks about which the file says nothing; undecided by default.
    again : bool
        Also when the same file was imported before.
    name : str, optional
        What the pick set is called; the file's name by default.
    then : callable, optional
        Gets that line when the picks are there, now or later; None where they could not be written.

    Raises
    ------
    Refused
        It was imported before, or its frame contradicts the image.
    FormatError
        None of its micrographs can be read, so that nobody knows their height.
    """
    if plan.contradiction:
        raise Refused(plan.contradiction)
    identity = _identity(plan)
    if not again and any(s.parameters.get("identity") == identity for s in session.pick_sets.values()):
        raise Refused(
            f"{plan.file.path.name} was imported before; undo that import first, or import it again on purpose"
        )
    if not plan.placeable:
        first = plan.matched[0][0]
        raise FormatError(
            f"counts y from the last row, and {first.name} cannot be read ({first.problem})", plan.file.path
        )

    def build(_store: Store, _connection: Connection) -> Change:
        return _change(session, plan, decision or Decision.UNDECIDED, identity, name)

    step = Step(build, plan.n_picks, f"importing {edits.count_of(plan.n_picks)}")
    outcome = session.commit(step, lambda result: then(_entered(session, plan, result)))
    line = None if isinstance(outcome, Queued) else _entered(session, plan, outcome)
    return line or f"{step.title} …"


def _entered(session: Session, plan: ImportPlan, result: Result) -> str | None:
    """What was imported, for the status bar; None where it was not."""
    if not isinstance(result, Done):
        return None
    lines = [result.committed.change.done, plan.frame_message()]
    n_unplaced = len(plan.matched) - len(plan.placeable)
    if n_unplaced:
        lines.append(f"left out on {edits.count_of(n_unplaced, 'micrograph')} that cannot be read")
    if doubt := _scale_doubt(session, plan):
        lines.append(doubt)
    if plan.unmatched:
        lines.append(f"{len(plan.unmatched)} names match no micrograph ({', '.join(plan.unmatched[:2])} ...)")
    if plan.ambiguous:
        lines.append(f"{len(plan.ambiguous)} names are ambiguous ({', '.join(list(plan.ambiguous)[:2])} ...)")
    if plan.file.issues:
        lines.append(f"{edits.count_of(len(plan.file.issues), 'bad row')} left out")
    return " · ".join(lines)


def _scale_doubt(session: Session, plan: ImportPlan) -> str:
    """Say where the file was made on images of another pixel size: its positions would be off by that factor."""
    stated, own = plan.file.pixel_size_A, session.pixel_size_A(plan.matched[0][0])
    if stated is None or session.settings.pixel_size_doubt(plan.matched[0][0]) or abs(stated / own - 1.0) < 0.02:
        return ""
    return f"check the pixel size: the file says {stated:.4g} A/px, the project {own:.4g}"


def _identity(plan: ImportPlan) -> str:
    digest = hashlib.sha256(str(plan.file.format).encode())
    for _, picks in plan.matched:
        digest.update(picks.x.tobytes())
        digest.update(picks.y.tobytes())
    return digest.hexdigest()[:24]


def _change(session: Session, plan: ImportPlan, decision: Decision, identity: str, name: str | None = None) -> Change:
    placed = plan.placeable
    columns = [_columns(session, m, p, plan.frame, decision) for m, p in placed]
    joined = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    deltas: list[Delta] = []
    diameter = _common_diameter(joined["diameter_A"])
    if diameter is not None:
        if not session.settings.diameter_is_set:
            deltas.append(edits.setting_delta("diameter_A", session.settings.values.get("diameter_A"), diameter))
            joined["diameter_A"] = np.full_like(joined["diameter_A"], np.nan)
        elif np.isclose(diameter, session.diameter_A, rtol=1e-9):
            joined["diameter_A"] = np.full_like(joined["diameter_A"], np.nan)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    frame = {
        **asdict(plan.frame),
        "verdict": plan.verdict.orientation,
        "verdict_anchor": plan.verdict.anchor,
        "verdict_scale": plan.verdict.scale,
        "margin_se": plan.verdict.margin_se,
        "reason": plan.verdict.reason,
    }
    files = dict.fromkeys(str(p.source.absolute()) for _, p in plan.matched if p.source is not None)
    parameters = {
        "identity": identity,
        "format": plan.file.format,
        "files": list(files),
        "unmatched": list(plan.unmatched[:100]),
    }
    file_name = plan.file.path.name or str(plan.file.path)
    deltas.append(
        edits.new_pick_set(
            "import",
            name or file_name,
            session.curator,
            source=str(plan.file.path),
            frame=frame,
            parameters=parameters,
            created=now,
        )
    )
    n = len(joined["x"])
    joined["pick_set"] = np.array([-1], np.int64)
    deltas.append(edits.insert_particles(joined, n))
    on = {m.id for m, _ in placed}
    one = placed[0][0].id if len(on) == 1 else None
    where = f"on {edits.count_of(len(on), 'micrograph')}"
    return Message("import", edits.count_of(n), f"from {file_name}", where).change("import", deltas, one)


def _columns(
    session: Session, micrograph: Micrograph, picks: FilePicks, frame: SourceFrame, decision: Decision
) -> dict[str, NDArray[Any]]:
    n = len(picks)
    x, y = picks.positions(frame, micrograph.height)
    pixel = session.pixel_size_A(micrograph)
    nothing = np.full(n, np.nan)
    diameter = nothing if picks.diameter_px is None else picks.diameter_px * frame.scale * pixel
    decided = np.array(np.broadcast_to(np.asarray(picks.decision, np.int8), (n,)))
    decided[decided == Decision.UNDECIDED] = decision
    rejected = decided == Decision.REJECTED
    return {
        "micrograph": np.full(n, micrograph.id, np.int64),
        "x": x,
        "y": y,
        "diameter_A": np.asarray(diameter, np.float64),
        "score": nothing if picks.score is None else np.asarray(picks.score, np.float64),
        "decision": decided,
        "reason": np.where(rejected, Reason.NOT_A_PARTICLE, Reason.NONE).astype(np.int8),
        "class_id": np.zeros(n, np.int32) if picks.class_id is None else np.asarray(picks.class_id, np.int32),
        "extra": _extra(picks),
    }


def _extra(picks: FilePicks) -> NDArray[np.bytes_]:
    """Uninterpreted columns, one JSON text a row as UTF-8; empty where there are none."""
    names = list(picks.extra)
    if not names or not len(picks):
        return np.zeros(len(picks), dtype="S1")
    cells = [picks.extra[name].tolist() for name in names]
    rows = zip(*cells, strict=True)
    return np.array([json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False).encode() for row in rows])


def _common_diameter(diameter_A: NDArray[np.float64]) -> float | None:
    """The one diameter all rows share; None where they differ or none is given."""
    if not len(diameter_A) or np.isnan(diameter_A).any():
        return None
    first = float(diameter_A[0])
    return first if np.allclose(diameter_A, first, rtol=1e-9) else None
