"""Pictures of places of the queue, for a page of look-alikes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ...errors import AnnotatorError
from ...formats.image import images
from ...imaging.patches import Edge, PatchOptions, box_for, extract_patches
from ...model.context import JobContext
from ..classes.browse import as_greys
from ..core.session import Session
from .review_item import ReviewItem

#: Side of a picture, px.
SIDE = 72
#: Standard deviation of the blur, px: what is finer is noise.
_BLUR = 1.2
_QUIET = JobContext()


def cut_places(
    session: Session, items: Sequence[ReviewItem], context: JobContext = _QUIET
) -> list[NDArray[np.uint8] | None]:
    """A picture of each item, (SIDE or less)^2 uint8, some 1.5 diameters wide; None where it cannot be read.

    Raises Cancelled.
    """
    pictures: list[NDArray[np.uint8] | None] = [None] * len(items)
    numbers = np.array([item.micrograph for item in items], np.int64)
    for number in np.unique(numbers).tolist():
        context.check()
        rows = np.flatnonzero(numbers == number).tolist()
        micrograph = session.micrograph(number)
        try:
            pixels = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
        except AnnotatorError:
            continue
        box = box_for(session.settings.diameter_px(micrograph))
        options = PatchOptions(box, min(SIDE, box), Edge.PAD, invert=False)
        x, y = (np.array([getattr(items[row], name) for row in rows]) for name in ("x", "y"))
        cut, at = extract_patches(pixels, x, y, options)
        greys = as_greys(gaussian_filter(cut, (0, _BLUR, _BLUR)))
        for picture, row in zip(greys, [rows[i] for i in at.tolist()], strict=True):
            pictures[row] = picture
    return pictures
