"""Does a coordinate file's frame agree with the image? The frame guard.

Files do not say which way y runs, whether a number is a box's centre or its corner, or on which binning it was
made. Each way to read them is a hypothesis; the one whose picks share most (:mod:`.evidence`) wins, if it leads all
others and the same pattern of picks put anywhere else (FORMATS.md 12).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...model.coordinates import Anchor, FloatArray, Orientation, SourceFrame
from .evidence import MIN_PICKS, Profiles, Score, profiles, score

#: Micrograph px per source px that are tried beside the declared scale.
SCALES = (0.125, 0.25, 1 / 3, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0)
#: Combined standard errors by which the best hypothesis must lead.
MIN_MARGIN_SE = 3.0
#: Anchors nearer to each other than this are not distinguished, particle diameters.
_SAME_PLACE = 0.25

__all__ = ["MIN_MARGIN_SE", "MIN_PICKS", "SCALES", "FrameVerdict", "check_frame", "combine", "describe"]

Evidence: TypeAlias = Mapping[SourceFrame, Score]


@dataclass(frozen=True)
class FrameVerdict:
    """What an image says of the frame of its picks.

    Attributes
    ----------
    orientation : Orientation or None
        None = undecided; ``reason`` says why.
    anchor : Anchor or None
    scale : float or None
        Micrograph px per source px.
    margin_se : float
        Lead of the best hypothesis over the second and over random positions, combined standard errors.
    n_tested : int
        Places on the image under the best hypothesis; picks closer than a particle count once.
    reason : str
    evidence : mapping of SourceFrame to Score
        What :func:`combine` pools; hypotheses that put too few picks on the image are absent.
    """

    orientation: Orientation | None
    anchor: Anchor | None = None
    scale: float | None = None
    margin_se: float = 0.0
    n_tested: int = 0
    reason: str = ""
    evidence: Evidence = field(default_factory=dict, repr=False)

    @property
    def frame(self) -> SourceFrame | None:
        """The frame the image asks for; None = undecided."""
        if self.orientation is None or self.anchor is None or self.scale is None:
            return None
        return SourceFrame(self.orientation, self.anchor, self.scale)

    def contradicts(self, declared: SourceFrame) -> bool:
        """Whether the image is sure of another frame than ``declared``."""
        seen = self.frame
        if seen is None:
            return False
        same = (seen.orientation, seen.anchor) == (declared.orientation, declared.anchor)
        return not (same and bool(np.isclose(seen.scale, declared.scale, rtol=0.02)))

    def __str__(self) -> str:
        seen = self.frame
        return "undecided" if seen is None else describe(seen)


def describe(frame: SourceFrame) -> str:
    """A frame in words: ``flip-y``, ``as-stored, box corners, 4 x binned``."""
    parts = [frame.orientation.value]
    if frame.anchor is Anchor.CORNER:
        parts.append("box corners")
    if not np.isclose(frame.scale, 1.0):
        binned = frame.scale > 1
        parts.append(f"{frame.scale:.3g} x binned" if binned else f"{1 / frame.scale:.3g} x finer than the micrograph")
    return ", ".join(parts)


def check_frame(
    image: NDArray[Any],
    x: ArrayLike,
    y: ArrayLike,
    diameter_px: float,
    *,
    box_size: ArrayLike | None = None,
    declared: SourceFrame | None = None,
    scales: Sequence[float] = SCALES,
) -> FrameVerdict:
    """Decide from the image in which frame a file's numbers are.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        A micrograph as stored; a constant padding border is left out.
    x, y : (n,) array_like
        Numbers as the file writes them, source px.
    diameter_px : float
        Particle diameter, px of ``image``. From a quarter to twice the true one still decides, less surely.
    box_size : float or (n,) array_like, optional
        Box edge in source px; without it corners are not tried.
    declared : SourceFrame, optional
        What the format declares. Its scale is tried too, and its anchor is taken where a small box leaves centre
        and corner in one place.
    scales : sequence of float
        Micrograph px per source px to try.

    Returns
    -------
    FrameVerdict

    Raises
    ------
    ValueError
        The image is not 2-D or the diameter not positive.
    """
    if image.ndim != 2:
        raise ValueError(f"image must be 2-D, not {image.ndim}-D")
    if not diameter_px > 0:
        raise ValueError(f"diameter must be positive, not {diameter_px}")
    sx, sy = np.asarray(x, np.float64).ravel(), np.asarray(y, np.float64).ravel()
    if len(sx) < MIN_PICKS:
        return FrameVerdict(None, n_tested=len(sx), reason=f"{len(sx)} picks; at least {MIN_PICKS} are needed")
    places = profiles(image, float(diameter_px))
    if places is None:
        return FrameVerdict(None, reason="the image is constant or not much larger than a particle")
    box = _usable_box(box_size, len(sx))
    frames = _hypotheses(declared or SourceFrame(), scales, box, float(diameter_px))
    return _decide(_scores(places, frames, sx, sy, box, image.shape[0]))


def combine(verdicts: Sequence[FrameVerdict]) -> FrameVerdict:
    """Pool the evidence of several micrographs of one source.

    Micrographs that decide for different frames make the whole undecided: the source is not of one frame.
    """
    if not any(v.evidence for v in verdicts):
        return replace(verdicts[0], orientation=None) if verdicts else FrameVerdict(None, reason="nothing to test")
    pooled = _decide(_pool([v.evidence for v in verdicts]))
    decided = Counter(str(v) for v in verdicts if v.frame is not None)
    if len(decided) > 1:
        votes = "; ".join(f"{n} say {frame}" for frame, n in decided.most_common())
        return replace(pooled, orientation=None, anchor=None, scale=None, reason=f"micrographs disagree: {votes}")
    return pooled


def _usable_box(box_size: ArrayLike | None, n: int) -> FloatArray | None:
    if box_size is None:
        return None
    box = np.broadcast_to(np.asarray(box_size, np.float64), (n,))
    return box if bool((np.isfinite(box) & (box > 0)).all()) else None


def _hypotheses(
    declared: SourceFrame, scales: Sequence[float], box: FloatArray | None, diameter_px: float
) -> Iterator[SourceFrame]:
    all_scales = [declared.scale, *(s for s in scales if not np.isclose(s, declared.scale, rtol=0.02))]
    anchors = sorted(Anchor, key=lambda anchor: anchor is not declared.anchor)
    for scale, orientation, anchor in product(all_scales, Orientation, anchors):
        if box is None and anchor is Anchor.CORNER:
            continue
        apart = 0.0 if box is None else float(np.median(box)) * scale / np.sqrt(2.0)
        if box is not None and anchor is not declared.anchor and apart < _SAME_PLACE * diameter_px:
            continue
        yield replace(declared, orientation=orientation, anchor=anchor, scale=scale)


def _scores(
    places: Profiles,
    frames: Iterator[SourceFrame],
    x: FloatArray,
    y: FloatArray,
    box: FloatArray | None,
    height: int,
) -> Evidence:
    scores = {
        frame: score(places, *frame.to_canonical(x, y, height=height, box_size=0.0 if box is None else box))
        for frame in frames
    }
    return {frame: value for frame, value in scores.items() if value is not None}


def _pool(parts: Sequence[Evidence]) -> Evidence:
    """Scores of several micrographs, weighted by the pairs of picks behind them."""
    frames = dict.fromkeys(frame for part in parts for frame in part)
    return {frame: _mean_score([part[frame] for part in parts if frame in part]) for frame in frames}


def _mean_score(scores: Sequence[Score]) -> Score:
    pairs = np.array([s.n * (s.n - 1) for s in scores], np.float64)
    weights = pairs / pairs.sum()
    n_shifts = min(len(s.elsewhere) for s in scores)
    elsewhere = np.array([s.elsewhere[:n_shifts] for s in scores])
    return Score(
        float(weights @ [s.signal for s in scores]),
        float(np.linalg.norm(weights * [s.error for s in scores])),
        float(np.linalg.norm(weights * [s.noise for s in scores])),
        sum(s.n for s in scores),
        weights @ elsewhere,
    )


def _decide(evidence: Evidence) -> FrameVerdict:
    if not evidence:
        return FrameVerdict(None, reason=f"no frame puts {MIN_PICKS} picks and half of all on the image")
    best, *rest = sorted(evidence, key=lambda frame: -evidence[frame].signal)
    margin, rival = _margin(evidence[best], [(describe(f), evidence[f]) for f in rest])
    n = evidence[best].n
    reason = f"{describe(best)} leads {rival} by {margin:.1f} standard errors"
    if margin < MIN_MARGIN_SE:
        reason = f"{reason} only; {MIN_MARGIN_SE:g} are needed"
        return FrameVerdict(None, margin_se=margin, n_tested=n, reason=reason, evidence=evidence)
    return FrameVerdict(best.orientation, best.anchor, best.scale, margin, n, reason, evidence)


def _margin(best: Score, rest: Sequence[tuple[str, Score]]) -> tuple[float, str]:
    """Smallest lead, combined standard errors, and over what: another hypothesis, or random positions."""
    highest = max(0.0, float(best.elsewhere.max(initial=0.0)))
    rivals = [("random positions", highest, best.noise)]
    rivals += [(name, max(0.0, other.signal), other.error) for name, other in rest]
    leads = [((best.signal - value) / max(float(np.hypot(best.error, e)), 1e-12), name) for name, value, e in rivals]
    return min(leads)
