"""What is suspicious about a set of picks, before it goes out. Each finding is one sentence, and a remedy where safe.

Works on the picks of an export (:class:`~cryoppp_annotator.model.pickfile.MicrographPicks`), so that a project and a
loose coordinate file are judged alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from ...model.curation import Decision, Reason
from ...model.micrograph import FINISHED_STATES, pixel_size_doubt
from ...model.pickfile import MicrographPicks
from ...model.region import Region, holds

#: Padding border of an image: rows on top, at the bottom, columns left, right, px.
Padding = tuple[int, int, int, int]


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Mend(StrEnum):
    """What can be done about a finding in one step that can be undone."""

    NONE = ""
    REJECT_OVERLAP = "reject as overlap"
    REJECT_EDGE = "reject as edge"
    REJECT_CARBON = "reject as carbon"
    REJECT_ICE = "reject as ice"
    REJECT_AGGREGATE = "reject as aggregate"
    REJECT_OTHER = "reject as other"
    RECENTRE = "recentre"


#: Mend of the picks in a region of each reason.
IN_REGION = {
    Reason.CARBON: Mend.REJECT_CARBON,
    Reason.ICE: Mend.REJECT_ICE,
    Reason.AGGREGATE: Mend.REJECT_AGGREGATE,
    Reason.OTHER: Mend.REJECT_OTHER,
}


@dataclass(frozen=True)
class Finding:
    """One thing to look at.

    Attributes
    ----------
    rule : str
    severity : Severity
    micrograph : str
        Name; empty where it is about the whole set.
    rows : tuple of int
        Rows of that micrograph's picks, first those a mend would act on.
    message : str
    mend : Mend
    centres : tuple of (float, float)
        Of an off-centre pick: x and y of its particle, canonical px; one a row.
    """

    rule: str
    severity: Severity
    micrograph: str
    rows: tuple[int, ...]
    message: str
    mend: Mend = Mend.NONE
    centres: tuple[tuple[float, float], ...] = ()


def lint_micrograph(
    picks: MicrographPicks,
    *,
    padding: Padding = (0, 0, 0, 0),
    density: NDArray[np.float32] | None = None,
    step: float = 1.0,
    box_size_px: float | None = None,
    regions: Sequence[Region] = (),
) -> list[Finding]:
    """Findings about one micrograph.

    Parameters
    ----------
    picks : MicrographPicks
        Rejected ones are left out of every rule.
    padding : (top, bottom, left, right), px
    density : (h, w) float32, optional
        Band-passed image; with it picks beside their particle are found.
    step : float
        Micrograph pixels per pixel of ``density``.
    box_size_px : float, optional
        Box of the later extraction; the particle's diameter by default.
    regions : sequence of Region
        Where there is nothing to pick.
    """
    kept = np.flatnonzero(picks.decision != Decision.REJECTED)
    chosen = picks.take(kept)
    findings = [
        *_overlaps(chosen),
        *_outside(chosen),
        *_clipped(chosen, padding, box_size_px),
        *_off_centre(chosen, density, step),
        *_in_regions(chosen, regions),
    ]
    return [replace(f, rows=tuple(kept[list(f.rows)].tolist())) for f in findings]


def lint_set(everything: Sequence[MicrographPicks]) -> list[Finding]:
    """Findings about the whole set: pixel sizes, diameters, counts."""
    return [*_pixel_sizes(everything), *_diameters(everything), *_rings(everything), *_counts(everything)]


def _sentence(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def _overlaps(picks: MicrographPicks) -> Iterable[Finding]:
    if len(picks) < 2:
        return
    limit = np.where(np.isfinite(picks.diameter_px), picks.diameter_px, 0.0) / 2
    here = np.column_stack([picks.x, picks.y])
    finite = np.flatnonzero(np.isfinite(here).all(axis=1))
    if len(finite) < 2:
        return
    pairs = cKDTree(here[finite]).query_pairs(max(1.0, float(limit.max())), output_type="ndarray")
    if not len(pairs):
        return
    pairs = finite[pairs]
    distance = np.hypot(*(here[pairs[:, 0]] - here[pairs[:, 1]]).T)
    for rule, severity, mask, words in (
        ("duplicate", Severity.ERROR, distance < 1.0, ("duplicate of another pick", "duplicates of other picks")),
        (
            "near-duplicate",
            Severity.WARNING,
            (distance >= 1.0) & (distance < np.minimum(limit[pairs[:, 0]], limit[pairs[:, 1]])),
            ("pick is closer than half a diameter to another", "picks are closer than half a diameter to others"),
        ),
    ):
        worse = worse_of(picks, pairs[mask])
        if len(worse):
            name = picks.micrograph.name
            text = f"{_sentence(len(worse), *words)}; {_STAYS}"
            yield Finding(rule, severity, name, tuple(worse), text, Mend.REJECT_OVERLAP)


#: Of two picks of one particle.
_STAYS = "the accepted one stays, else the one with the higher score, else the earlier one"


def worse_of(picks: MicrographPicks, pairs: NDArray[np.int64]) -> list[int]:
    """Rows to give up so that no pair (n, 2) is left: undecided before accepted, low before high score, late first."""
    score = np.where(np.isfinite(picks.score), picks.score, -np.inf)
    order = np.lexsort((np.arange(len(picks)), -score, picks.decision != Decision.ACCEPTED))
    rank = np.empty(len(picks), np.int64)
    rank[order] = np.arange(len(picks))
    neighbours: dict[int, list[int]] = {}
    for a, b in pairs.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    dropped: set[int] = set()
    for row in sorted(neighbours, key=lambda r: int(rank[r])):
        if row not in dropped:
            dropped.update(other for other in neighbours[row] if rank[other] > rank[row])
    return sorted(dropped)


def _outside(picks: MicrographPicks) -> Iterable[Finding]:
    m = picks.micrograph
    if not m.width or not m.height:
        return
    out = (picks.x < -0.5) | (picks.y < -0.5) | (picks.x > m.width - 0.5) | (picks.y > m.height - 0.5)
    rows = np.flatnonzero(out)
    if len(rows):
        text = _sentence(len(rows), "pick lies", "picks lie") + f" outside the {m.width} x {m.height} px micrograph"
        yield Finding("out-of-bounds", Severity.ERROR, m.name, tuple(rows.tolist()), text, Mend.REJECT_EDGE)


def _clipped(picks: MicrographPicks, padding: Padding, box_size_px: float | None) -> Iterable[Finding]:
    m = picks.micrograph
    if not m.width or not m.height:
        return
    top, bottom, left, right = padding
    size = picks.diameter_px if box_size_px is None else np.full(len(picks), box_size_px)
    half = np.where(np.isfinite(size), size, 0.0) / 2
    inside = (picks.x >= 0) & (picks.y >= 0) & (picks.x <= m.width - 1) & (picks.y <= m.height - 1)
    low_x, low_y, high_x, high_y = picks.x - half, picks.y - half, picks.x + half, picks.y + half
    cut = (low_x < left) | (low_y < top) | (high_x > m.width - 1 - right) | (high_y > m.height - 1 - bottom)
    rows = np.flatnonzero(inside & cut)
    if len(rows):
        what = "a box" if box_size_px is not None else "a ring"
        text = _sentence(len(rows), f"pick has {what}", f"picks have {what}") + " cut by the edge or the padding border"
        yield Finding("edge-clipped", Severity.WARNING, m.name, tuple(rows.tolist()), text, Mend.REJECT_EDGE)


def _off_centre(picks: MicrographPicks, density: NDArray[np.float32] | None, step: float) -> Iterable[Finding]:
    if density is None or not len(picks):
        return
    diameter = float(np.nanmedian(picks.diameter_px)) if np.isfinite(picks.diameter_px).any() else 0.0
    if diameter / step < 8:
        return
    shift = centroid_offsets(density, picks.x / step, picks.y / step, diameter / step) * step
    rows = np.flatnonzero(np.hypot(*shift.T) > diameter / 4)
    if len(rows):
        far = "off-centre by more than a quarter diameter"
        text = _sentence(len(rows), f"pick is {far}", f"picks are {far}")
        centres = np.stack([picks.x[rows], picks.y[rows]], axis=1) + shift[rows]
        yield Finding(
            "off-centre",
            Severity.WARNING,
            picks.micrograph.name,
            tuple(rows.tolist()),
            text,
            Mend.RECENTRE,
            tuple((float(x), float(y)) for x, y in centres),
        )


def _in_regions(picks: MicrographPicks, regions: Sequence[Region]) -> Iterable[Finding]:
    """Undecided picks can be rejected for the region's reason; about accepted ones a person has to think again."""
    for reason, mend in IN_REGION.items():
        inside = np.zeros(len(picks), bool)
        for region in regions:
            if region.reason is reason:
                inside |= holds(region.vertices, picks.y, picks.x)
        what = f"in a region marked {reason.label}"
        undecided = picks.decision == Decision.UNDECIDED
        for rows, words, safe in (
            (np.flatnonzero(inside & undecided), ("pick lies", "picks lie"), mend),
            (np.flatnonzero(inside & ~undecided), ("accepted pick lies", "accepted picks lie"), Mend.NONE),
        ):
            if len(rows):
                text = f"{_sentence(len(rows), *words)} {what}"
                yield Finding("in-region", Severity.WARNING, picks.micrograph.name, tuple(rows.tolist()), text, safe)


def centroid_offsets(
    density: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64], diameter: float
) -> NDArray[np.float64]:
    """How far the particle's centre of mass lies from each pick.

    Parameters
    ----------
    density : (h, w) float32, yx
        Band-passed image, particles dark or bright.
    x, y : (n,) float64, px of ``density``
    diameter : float, px of ``density``

    Returns
    -------
    (n, 2) float64, xy, px
        Zero where the patch leaves the image or shows no particle.
    """
    # smoothed to the particle's size, a particle is one hill, whatever it looks like inside
    hill = ndimage.gaussian_filter(density, diameter / 5)
    reach = max(2, round(diameter * 0.5))
    out = np.zeros((len(x), 2))
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    fits = (column >= reach) & (row >= reach) & (column < hill.shape[1] - reach) & (row < hill.shape[0] - reach)
    if not fits.any():
        return out
    typical = np.median(hill[row[fits], column[fits]])
    sign = 1.0 if typical > 0 else -1.0
    for i in np.flatnonzero(fits).tolist():
        top = _climb(sign * hill, row[i], column[i], reach)
        if top is not None and sign * hill[top] > 0.5 * abs(typical):
            out[i] = top[1] - x[i], top[0] - y[i]
    return out


def _climb(hill: NDArray[np.float32], row: int, column: int, reach: int) -> tuple[int, int] | None:
    """The top reached by going uphill, (row, column); None where the way leads further than ``reach``."""
    at = (row, column)
    for _ in range(3 * reach):
        r, c = at
        around = hill[max(0, r - 1) : r + 2, max(0, c - 1) : c + 2]
        dr, dc = divmod(int(np.argmax(around)), around.shape[1])
        higher = (max(0, r - 1) + dr, max(0, c - 1) + dc)
        if higher == at:
            return at
        if np.hypot(higher[0] - row, higher[1] - column) > reach:
            return None  # that is a neighbour's hill
        at = higher
    return None


def _pixel_sizes(everything: Sequence[MicrographPicks]) -> Iterable[Finding]:
    for picks in everything:
        m, used = picks.micrograph, picks.pixel_size_A
        header = m.header_pixel_size_A
        if used is None or (used == header and pixel_size_doubt(used)):
            yield Finding(
                "pixel-size", Severity.WARNING, m.name, (), pixel_size_doubt(used) or "no pixel size is known"
            )
        elif header and not pixel_size_doubt(header) and abs(used / header - 1) > 0.02:
            text = f"{used:.4g} Å/px is used, the header says {header:.4g}"
            yield Finding("pixel-size", Severity.WARNING, m.name, (), text)


def _diameters(everything: Sequence[MicrographPicks]) -> Iterable[Finding]:
    in_A = [
        p.diameter_px * p.pixel_size_A
        for p in everything
        if p.pixel_size_A and len(p) and np.isfinite(p.diameter_px).any()
    ]
    if not in_A:
        return
    sizes = np.unique(np.round(np.concatenate(in_A), 1))
    sizes = sizes[np.isfinite(sizes)]
    if len(sizes) > 1 and sizes[-1] / max(sizes[0], 1e-9) > 1.2:
        text = f"{len(sizes)} different diameters, from {sizes[0]:g} to {sizes[-1]:g} Å"
        yield Finding("diameters", Severity.NOTE, "", (), text)


def _rings(everything: Sequence[MicrographPicks]) -> Iterable[Finding]:
    """A ring that no particle can fill says that pixel size or diameter is wrong."""
    for picks in everything:
        m = picks.micrograph
        if not len(picks) or not np.isfinite(picks.diameter_px).any() or not m.width:
            continue
        diameter = float(np.nanmedian(picks.diameter_px))
        if not 6 <= diameter <= min(m.width, m.height) / 4:
            text = (
                f"the diameter is {diameter:.0f} px of {m.width} x {m.height}: the pixel size "
                f"({picks.pixel_size_A or 0:.4g} Å/px) or the diameter is wrong"
            )
            yield Finding("pixel-size", Severity.WARNING, m.name, (), text)


def _counts(everything: Sequence[MicrographPicks]) -> Iterable[Finding]:
    counts = np.array([np.count_nonzero(p.decision != Decision.REJECTED) for p in everything], dtype=float)
    for picks, n in zip(everything, counts, strict=True):
        if n == 0 and picks.micrograph.state not in FINISHED_STATES:
            text = "the micrograph has no picks and is not marked as empty"
            yield Finding("no-picks", Severity.NOTE, picks.micrograph.name, (), text)
    busy = counts[counts > 0]
    if len(busy) < 5:
        return
    # counts scatter like their square root, and ice more than that
    middle = float(np.median(np.sqrt(busy)))
    spread = max(1.0, 1.4826 * float(np.median(np.abs(np.sqrt(busy) - middle))))
    for picks, n in zip(everything, counts, strict=True):
        if n and abs(np.sqrt(n) - middle) > 4 * spread:
            text = f"{int(n):,} picks, where {middle**2:.0f} are usual in this set"
            yield Finding("count-outlier", Severity.NOTE, picks.micrograph.name, (), text)


def as_dict(finding: Finding, ids: Sequence[int] | None = None) -> dict[str, Any]:
    """A finding as ``lint --json`` prints it; ``ids`` are the particles' ids by row."""
    particles = [int(ids[row]) for row in finding.rows] if ids is not None else list(finding.rows)
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "micrograph": finding.micrograph,
        "particles": particles,
        "message": finding.message,
    }
