"""Two readings of one coordinate file, side by side on the image, for a person to judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import AnnotatorError
from ...formats.image import images
from ...imaging.denoise import BAND_PASS
from ...model.context import JobContext
from ..core.session import Session
from .import_plan import ImportPlan
from .importing import typical_diameter_px

_QUIET = JobContext()
#: Side of the part of a micrograph that is shown, particle diameters.
_SIDE_DIAMETERS = 9.0
_MAX_SIDE = 2048


@dataclass(frozen=True, eq=False)
class Comparison:
    """A part of a micrograph and the picks in it, read in two frames.

    Attributes
    ----------
    micrograph : str
    pixels : (h, w) uint8, yx
        Band-passed, particles as dark as in the file.
    declared, seen : (n, 2) float64, xy, px of ``pixels``
        As the format says, and as the image says.
    radius : float, px of ``pixels``
    """

    micrograph: str
    pixels: NDArray[np.uint8]
    declared: NDArray[np.float64]
    seen: NDArray[np.float64]
    radius: float


def compare(session: Session, plan: ImportPlan, context: JobContext = _QUIET) -> Comparison | None:
    """Draw what the two frames of a contradicted import mean; None where no image can be read."""
    imaged = plan.verdict.frame
    if imaged is None:
        return None
    for micrograph, picks in sorted(plan.matched, key=lambda pair: -len(pair[1])):
        if micrograph.problem or not len(picks):
            continue
        try:
            image = images.read(session.path_of(micrograph), micrograph.frame, check=context.check)
        except AnnotatorError:
            continue
        diameter = typical_diameter_px(session, micrograph, picks, imaged)
        pixel = session.pixel_size_A(micrograph)
        picture = BAND_PASS.denoise(
            image, pixel_size_A=pixel, diameter_A=diameter * pixel, max_side=_MAX_SIDE, context=context
        )
        step = np.array([picture.step[1], picture.step[0]])
        seen, declared = (
            np.column_stack(picks.positions(frame, micrograph.height, micrograph.path)) / step
            for frame in (imaged, plan.declared)
        )
        height, width = picture.pixels.shape
        side = int(min(_SIDE_DIAMETERS * diameter / step[0], height, width))
        middle = seen[np.argmin(np.hypot(*(seen - np.array([width, height]) / 2).T))]
        left, top = np.clip(middle - side / 2, 0, [width - side, height - side]).astype(int)
        low, high = picture.limits
        part = picture.pixels[top : top + side, left : left + side]
        grey = np.clip((part - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        corner = np.array([left, top])
        return Comparison(micrograph.name, grey, declared - corner, seen - corner, diameter / step[0] / 2)
    return None
