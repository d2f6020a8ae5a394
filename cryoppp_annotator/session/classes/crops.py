"""Small pictures of picks, for a gallery: cut from their micrographs as they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ...errors import AnnotatorError
from ...formats.image import images
from ...imaging.patches import Edge, PatchOptions, box_for, extract_patches
from ...model.context import JobContext
from ...model.which import Which
from ..core.session import Session
from .browse import as_greys

_QUIET = JobContext()
#: Side of a picture, px.
SIDE = 64
#: Blur of a picture, px: what is finer is noise.
_BLUR = 1.2


def cut_crops(
    session: Session,
    ids: NDArray[np.int64],
    *,
    invert: bool = True,
    on_some: Callable[[NDArray[np.int64], NDArray[np.uint8]], None] | None = None,
    context: JobContext = _QUIET,
) -> dict[int, str]:
    """Cut pictures of picks, micrograph by micrograph: the body of a job.

    Parameters
    ----------
    ids : (n,) int64
    invert : bool
        Particles are dark in the micrographs.
    on_some : callable
        Gets ids (m,) and pictures (m, SIDE, SIDE) uint8 of 1.5 diameters, white particles, as they come.

    Returns
    -------
    mapping of id to str
        Picks that have no picture, and why not.

    Raises
    ------
    Cancelled
    """
    picks = session.store.positions(Which(ids=tuple(ids.tolist())))
    failed = dict.fromkeys(np.setdiff1d(ids, picks["id"]).tolist(), "it was deleted")
    for number in np.unique(picks["micrograph"]).tolist():
        context.check()
        mine = np.flatnonzero(picks["micrograph"] == number)
        try:
            cut, at = _cut(session, number, picks["x"][mine], picks["y"][mine], invert, context)
        except AnnotatorError as error:
            context.check()
            failed.update(dict.fromkeys(picks["id"][mine].tolist(), str(error)))
            continue
        if on_some is not None and len(at):
            on_some(picks["id"][mine[at]], cut)
        without = np.setdiff1d(np.arange(len(mine)), at)
        failed.update(dict.fromkeys(picks["id"][mine[without]].tolist(), "it lies off the micrograph"))
    return failed


def _cut(
    session: Session,
    number: int,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    invert: bool,
    context: JobContext,
) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    micrograph = session.micrograph(number)
    pixels = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
    box = box_for(session.settings.diameter_px(micrograph))
    options = PatchOptions(box, min(SIDE, box), Edge.PAD, invert=invert)
    cut, at = extract_patches(pixels, x, y, options)
    return as_greys(gaussian_filter(cut, (0, _BLUR, _BLUR))), at
