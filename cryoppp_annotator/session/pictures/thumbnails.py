"""Small pictures of micrographs with their picks, made as they are asked for and kept in the project's cache."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError
from ...formats.atomic import replacing
from ...formats.image import images
from ...formats.kept_arrays import load_arrays
from ...imaging.contrast import interior, robust_limits, robust_location, sample_pixels
from ...imaging.filters import box_reduce, find_padding
from ...model.context import JobContext
from ...model.curation import Decision
from ...model.micrograph import Micrograph
from ...model.which import Which
from ..core.disk_cache import DiskCache
from ..core.session import Session

_QUIET = JobContext()
#: Longest side of a thumbnail, px, at most.
SIDE = 192
#: Thumbnails kept on the disk, bytes: some 10,000.
_DISK_LIMIT = 400_000_000
#: What is beyond so many robust s.d. is a hot pixel.
_CLIP_SD = 8.0


@dataclass(frozen=True, eq=False)
class Thumbnail:
    """A small picture of a micrograph, and the picks on it.

    Attributes
    ----------
    grey : (h, w) uint8, yx
        Row 0 of the file first.
    step : float
        Micrograph px per px of the picture.
    x, y, diameter_px : (n,) float64
        Canonical px of the micrograph; only picks that are not rejected.
    accepted : (n,) bool
        Else undecided.
    """

    grey: NDArray[np.uint8]
    step: float
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    diameter_px: NDArray[np.float64]
    accepted: NDArray[np.bool_]


def make_thumbnails(
    session: Session,
    ids: Sequence[int],
    drawn: Which,
    on_one: Callable[[int, Thumbnail], None],
    *,
    context: JobContext = _QUIET,
) -> dict[int, str]:
    """Make thumbnails, one micrograph after the other: the body of a job.

    Parameters
    ----------
    session : Session
    ids : sequence of int
        Micrographs.
    drawn : Which
        Picks that are drawn; decisions and micrographs in it do not matter.
    on_one : callable
        Gets each micrograph's id and thumbnail as it comes.

    Returns
    -------
    mapping of id to str
        Micrographs without a thumbnail, and why.

    Raises
    ------
    Cancelled
    """
    failed: dict[int, str] = {}
    for number in ids:
        context.check()
        micrograph = session.micrograph(number)
        if micrograph.problem:
            failed[number] = micrograph.problem
            continue
        try:
            grey, step = _picture(session, micrograph, context)
        except AnnotatorError as error:
            context.check()
            failed[number] = str(error)
            continue
        on_one(number, _with_picks(session, micrograph, grey, step, drawn))
    return failed


def trim(session: Session) -> None:
    """Delete the oldest thumbnails beyond what the cache may hold."""
    DiskCache(session.store.folder / "cache" / "thumbnails", "*.npz", _DISK_LIMIT).trim()


def _picture(session: Session, micrograph: Micrograph, context: JobContext) -> tuple[NDArray[np.uint8], float]:
    """The picture and its step, from the cache where it is there. Raises AnnotatorError."""
    text = f"{micrograph.id}-{micrograph.fingerprint}-{micrograph.frame}-{SIDE}"
    file = session.store.folder / "cache" / "thumbnails" / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.npz"
    kept = load_arrays(file)
    if kept is not None and {"grey", "step"} <= set(kept) and kept["grey"].ndim == 2 and float(kept["step"]) > 0:
        return kept["grey"].astype(np.uint8), float(kept["step"])
    image = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
    grey, step = shrunk(image)
    # a cache that cannot be written costs time, nothing else
    with contextlib.suppress(OSError), replacing(file) as stream:
        np.savez(stream, grey=grey, step=np.float64(step))
    return grey, step


def shrunk(image: NDArray[np.generic]) -> tuple[NDArray[np.uint8], float]:
    """A micrograph (h, w) as a grey picture of at most :data:`SIDE` px, and px per px of it."""
    padding = find_padding(image)
    values = sample_pixels(image, padding)
    middle, spread = robust_location(values)
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = np.nan_to_num(image.astype(np.float32), copy=False, nan=middle)
    if spread > 0:
        np.clip(pixels, middle - _CLIP_SD * spread, middle + _CLIP_SD * spread, out=pixels)
    factor = max(1, math.ceil(max(image.shape) / SIDE))
    small = box_reduce(pixels, factor)
    edges = (padding[0] // factor, padding[1] // factor, padding[2] // factor, padding[3] // factor)
    low, high = robust_limits(interior(small, edges))
    return np.clip(255.0 * (small - low) / (high - low), 0, 255).astype(np.uint8), float(factor)


def _with_picks(
    session: Session, micrograph: Micrograph, grey: NDArray[np.uint8], step: float, drawn: Which
) -> Thumbnail:
    kept = (Decision.UNDECIDED, Decision.ACCEPTED)
    picks = session.store.particles_where(replace(drawn, micrographs=(micrograph.id,), decisions=kept))
    diameters = session.diameters_px(micrograph, picks)
    return Thumbnail(grey, step, picks.x, picks.y, diameters, np.asarray(picks.decision == Decision.ACCEPTED))
