"""Lint of an open project: findings with the particles they are about, and their remedies as one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError
from ...formats.check.lint import IN_REGION, Finding, Mend, Severity, lint_micrograph, lint_set
from ...formats.image import images
from ...imaging import filters
from ...model.context import JobContext
from ...model.curation import Change, Decision, Delta, Kind, Reason, Table
from ...model.message import Message
from ...model.micrograph import Micrograph, MicrographState
from ...model.particles import Particles
from ...model.pickfile import MicrographPicks
from ...model.which import Which
from ...store.store import Connection, Store
from .. import regions
from ..core.edits import count_of
from ..core.session import Session
from ..core.step import Nothing, Outcome, Result, Step
from .exporting import gather

_QUIET = JobContext()
#: Longest side of the picture that off-centre picks are looked for in, px.
_SIDE = 1024

REASONS = {
    Mend.REJECT_OVERLAP: Reason.OVERLAP,
    Mend.REJECT_EDGE: Reason.EDGE,
    **{mend: reason for reason, mend in IN_REGION.items()},
}


@dataclass(frozen=True)
class ProjectFinding:
    """A finding and where it is in the project; ``ids`` are particle ids in the order of the finding's rows."""

    finding: Finding
    micrograph: int | None
    ids: tuple[int, ...]


def lint(
    session: Session,
    *,
    decisions: Iterable[Decision] = (Decision.ACCEPTED, Decision.UNDECIDED),
    read_images: bool = True,
    box_size_px: float | None = None,
    context: JobContext = _QUIET,
) -> list[ProjectFinding]:
    """Look for what is suspicious in a project.

    Parameters
    ----------
    decisions : iterable of Decision
        Picks that are meant to go out.
    read_images : bool
        Also read the images: padding borders and picks beside their particle.
    box_size_px : float, optional
        Box of the later extraction.
    """
    chosen = np.array([int(d) for d in decisions], np.int8)
    everything: list[MicrographPicks] = []
    findings: list[ProjectFinding] = []
    by_name: dict[str, int] = {}
    usable = [m for m in session.micrographs if m.state is not MicrographState.UNUSABLE]
    for i, micrograph in enumerate(usable):
        context.progress(i, len(usable), f"{i}/{len(usable)} micrographs")
        picks = gather(session, micrograph, chosen)
        everything.append(picks)
        by_name[micrograph.name] = micrograph.id
        if not len(picks):
            continue
        particles = session.store.particles(micrograph.id)
        ids = particles.id[np.isin(particles.decision, chosen)]
        density, step, padding = _seen(session, micrograph, picks) if read_images else (None, 1.0, (0, 0, 0, 0))
        marked = regions.of(session, micrograph.id)
        for finding in lint_micrograph(
            picks, padding=padding, density=density, step=step, box_size_px=box_size_px, regions=marked
        ):
            findings.append(ProjectFinding(finding, micrograph.id, tuple(ids[list(finding.rows)].tolist())))
    for finding in lint_set(everything):
        findings.append(ProjectFinding(finding, by_name.get(finding.micrograph), ()))
    findings += _unmatched(session)
    context.progress(len(usable), len(usable), f"{count_of(len(findings), 'finding')}")
    return findings


def _unmatched(session: Session) -> list[ProjectFinding]:
    """Names in imported files that are no micrograph here: their picks are not in the project."""
    findings = []
    for pick_set in session.pick_sets.values():
        names = pick_set.parameters.get("unmatched", [])
        if names:
            text = f"{pick_set.name} names {count_of(len(names), 'micrograph')} that are not here ({names[0]} ...)"
            findings.append(ProjectFinding(Finding("name-mismatch", Severity.WARNING, "", (), text), None, ()))
    return findings


def _seen(
    session: Session, micrograph: Micrograph, picks: MicrographPicks
) -> tuple[NDArray[np.float32] | None, float, tuple[int, int, int, int]]:
    """Band-passed image, its step in px, and the padding border; nothing of it where the image cannot be read."""
    nothing = (None, 1.0, (0, 0, 0, 0))
    if micrograph.problem:
        return nothing
    try:
        image = images.read(session.path_of(micrograph), micrograph.frame)
    except AnnotatorError:
        return nothing
    padding = filters.find_padding(image)
    step = math.ceil(4 * max(1.0, max(image.shape) / _SIDE)) / 4  # quarters keep the crop exact
    diameter = float(np.nanmedian(picks.diameter_px))
    density = filters.band_pass(np.asarray(image, np.float32), 2 * diameter, diameter / 4, step=step, padding=padding)
    return density, step, padding


def mend(
    session: Session, findings: Sequence[ProjectFinding], then: Callable[[Result], object] = lambda result: None
) -> Outcome:
    """Reject the picks that the findings' remedies name, all as one step.

    ``then`` gets the result when it is over, as in :meth:`Session.commit`.
    """
    reasons: dict[int, tuple[int, Reason]] = {}
    for item in findings:
        reason = REASONS.get(item.finding.mend)
        if reason is None or item.micrograph is None:
            continue
        for particle in item.ids:
            reasons.setdefault(particle, (item.micrograph, reason))
    if not reasons:
        return Nothing("none of these findings has a safe remedy")
    by_micrograph: dict[int, list[int]] = {}
    for particle, (micrograph, _) in reasons.items():
        by_micrograph.setdefault(micrograph, []).append(particle)

    def build(store: Store, connection: Connection) -> Change | None:
        deltas = [
            delta
            for micrograph, ids in by_micrograph.items()
            if (delta := _rejection(store.read(connection, Which(micrographs=(micrograph,))), ids, reasons)) is not None
        ]
        n = sum(len(d) for d in deltas)
        if not n:
            return None
        only_micrograph = next(iter(by_micrograph)) if len(by_micrograph) == 1 else None
        return Message("mend", count_of(n), "found by lint").change("mend", deltas, only_micrograph)

    return session.commit(Step(build, len(reasons), "applying the remedies that lint suggests"), then)


def recentre(
    session: Session, findings: Sequence[ProjectFinding], then: Callable[[Result], object] = lambda result: None
) -> Outcome:
    """Move off-centre picks onto the particles that were seen beside them, all as one step.

    ``then`` gets the result when it is over, as in :meth:`Session.commit`.
    """
    centres = {
        particle: centre
        for item in findings
        if item.finding.mend is Mend.RECENTRE
        for particle, centre in zip(item.ids, item.finding.centres, strict=True)
    }
    if not centres:
        return Nothing("none of these picks is off-centre")
    ids = np.array(sorted(centres), np.int64)

    def build(store: Store, connection: Connection) -> Change | None:
        there = store.read(connection, Which(ids=tuple(ids.tolist())))
        if not len(there):
            return None
        to = np.array([centres[i] for i in there.id.tolist()])
        before, after = {"x": there.x, "y": there.y}, {"x": to[:, 0], "y": to[:, 1]}
        delta = Delta(Table.PARTICLE, Kind.UPDATE, there.id, before, after, there.micrograph)
        one = int(there.micrograph[0]) if len(set(there.micrograph.tolist())) == 1 else None
        return Message("move", count_of(len(there)), "onto their particles").change("move", [delta], one)

    return session.commit(Step(build, len(centres), "recentring picks"), then)


def n_off_centre(findings: Sequence[ProjectFinding]) -> int:
    """Picks that :func:`recentre` would move."""
    return len({i for item in findings if item.finding.mend is Mend.RECENTRE for i in item.ids})


def of_decisions(
    session: Session, findings: Sequence[ProjectFinding], decisions: Iterable[Decision]
) -> list[ProjectFinding]:
    """What of a check concerns picks of some decisions: those that are meant to go out, and the whole set."""
    ids = tuple(sorted({i for item in findings for i in item.ids}))
    there = session.store.particles_where(Which(ids=ids, decisions=tuple(decisions))) if ids else None
    kept = set() if there is None else set(there.id.tolist())
    out = []
    for item in findings:
        rows = [k for k, i in enumerate(item.ids) if i in kept]
        if rows or not item.ids:
            centres = tuple(item.finding.centres[k] for k in rows) if item.finding.centres else ()
            finding = replace(item.finding, rows=tuple(item.finding.rows[k] for k in rows), centres=centres)
            out.append(ProjectFinding(finding, item.micrograph, tuple(item.ids[k] for k in rows)))
    return out


def _rejection(particles: Particles, ids: Sequence[int], because: dict[int, tuple[int, Reason]]) -> Delta | None:
    rows = particles.rows_of(np.array(sorted(ids), np.int64))
    rows = rows[rows >= 0]
    rows = rows[particles.decision[rows] != Decision.REJECTED]
    if not len(rows):
        return None
    # what was accepted since the look stays: a region says less of a pick than the person who looked at it
    by_region = np.array([because[i][1] in IN_REGION for i in particles.id[rows].tolist()], bool)
    rows = rows[~by_region | (particles.decision[rows] == Decision.UNDECIDED)]
    if not len(rows):
        return None
    chosen = particles.take(rows)
    reasons = np.array([int(because[i][1]) for i in chosen.id.tolist()], np.int8)
    return Delta(
        Table.PARTICLE,
        Kind.UPDATE,
        chosen.id,
        {"decision": chosen.decision, "reason": chosen.reason},
        {"decision": np.array([int(Decision.REJECTED)], np.int8), "reason": reasons},
        chosen.micrograph,
    )


def n_mendable(findings: Sequence[ProjectFinding]) -> int:
    """Picks that the remedies of these findings would reject."""
    return len({i for item in findings if item.finding.mend in REASONS for i in item.ids})


#: What a rule finds, one and many, in the words of the export dialog.
_WORDS = {
    "duplicate": ("duplicate", "duplicates"),
    "near-duplicate": ("pick closer than half a diameter to another", "picks closer than half a diameter to another"),
    "out-of-bounds": ("pick off its micrograph", "picks off their micrograph"),
    "edge-clipped": ("box cut by the edge", "boxes cut by the edge"),
    "off-centre": ("pick off its particle's centre", "picks off their particle's centre"),
    "in-region": ("pick on carbon or ice", "picks on carbon or ice"),
    "pixel-size": ("doubtful pixel size", "doubtful pixel sizes"),
    "diameters": ("remark on diameters", "remarks on diameters"),
    "no-picks": ("micrograph without picks", "micrographs without picks"),
    "count-outlier": ("micrograph with an unusual count", "micrographs with an unusual count"),
    "name-mismatch": ("import with names that match no micrograph", "imports with names that match no micrograph"),
    "frame": ("import in a doubtful frame", "imports in a doubtful frame"),
}


def one_line(findings: Sequence[ProjectFinding]) -> str:
    """The findings in one line, for the export dialog: ``Found: 2 duplicates, 1 box cut by the edge``."""
    counts: dict[str, int] = {}
    for item in findings:
        counts[item.finding.rule] = counts.get(item.finding.rule, 0) + max(1, len(item.ids))
    words = (f"{n:,} {_WORDS.get(rule, (rule, rule))[n != 1]}" for rule, n in counts.items())
    return "Found: " + ", ".join(words) if counts else "Nothing suspicious."
