"""What else lies on a simulated micrograph: pale contamination, aggregates, steps and cracks of the ice."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from ..model.curation import Reason
from .shapes import add_contaminant, soft_step

FloatImage = NDArray[np.float32]
#: Transmission that pale and that dark contamination take away.
_PALE_DEPTH = (0.02, 0.07)
#: Potential of pale contamination.
_PALE_POTENTIAL = 0.3
#: Least and largest distance of neighbours in an aggregate, diameters.
_TOGETHER = (0.35, 0.75)
#: Fewest and most particles of an aggregate.
_MEMBERS = (8, 40)


@dataclass(frozen=True, eq=False)
class Piece:
    """Where a piece of dirt lies.

    Attributes
    ----------
    reason : Reason
        ``ICE`` (crystals and contamination) or ``AGGREGATE``.
    pale : bool
        No darker than the particles.
    top, left : int
        Canonical px of the mask's first pixel.
    mask : (h, w) bool
    """

    reason: Reason
    pale: bool
    top: int
    left: int
    mask: NDArray[np.bool_]


def add_dirt(
    potential: FloatImage,
    transmission: FloatImage,
    piece: NDArray[np.float64],
    edge_px: float,
    rng: np.random.Generator,
    *,
    pale: bool = False,
) -> Piece:
    """Draw contamination into both images, in place; see :func:`.shapes.add_contaminant`.

    Parameters
    ----------
    potential, transmission : (h, w) float, px of the micrograph, row 0 first
    piece : (3,) float, x, y and radius, px
    """
    if not pale:
        top, left, mask = add_contaminant(potential, transmission, piece, edge_px, rng)
    else:
        softer = edge_px * float(rng.uniform(1.0, 4.0))
        top, left, mask = add_contaminant(
            potential, transmission, piece, softer, rng, depths=_PALE_DEPTH, height=_PALE_POTENTIAL
        )
    return Piece(Reason.ICE, pale, top, left, mask)


def grow_aggregate(diameter: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Places (n, 2) xy, px, of the particles of an aggregate around (0, 0): each set against an earlier one."""
    n = int(rng.integers(*_MEMBERS))
    places = np.zeros((n, 2))
    for i in range(1, n):
        angle, distance = rng.uniform(0.0, 2.0 * math.pi), diameter * rng.uniform(*_TOGETHER)
        places[i] = places[rng.integers(i)] + distance * np.array([math.cos(angle), math.sin(angle)])
    return np.asarray(places - places.mean(axis=0), np.float64)


def covered(places: NDArray[np.float64], diameter: float, shape: tuple[int, ...]) -> Piece:
    """The aggregate of particles at ``places`` (n, 2) xy, px: their discs and the gaps between them."""
    reach = math.ceil(diameter)
    low = np.maximum(np.floor(places.min(axis=0)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(places.max(axis=0)).astype(int) + reach + 1, (shape[1], shape[0]))
    left, top = (int(v) for v in low)
    size = tuple(int(v) for v in np.maximum(high - low, 1)[::-1])
    y, x = np.ogrid[top : top + size[0], left : left + size[1]]
    mask = np.zeros(size, bool)
    for px, py in places:
        mask |= (x - px) ** 2 + (y - py) ** 2 < (0.5 * diameter) ** 2
    gap = 0.3 * diameter
    wide = scipy.ndimage.distance_transform_edt(~mask) <= gap
    return Piece(
        Reason.AGGREGATE, False, top, left, mask | (np.asarray(scipy.ndimage.distance_transform_edt(wide)) > gap)
    )


def add_step(transmission: FloatImage, depth: float, width_px: float, rng: np.random.Generator) -> None:
    """Thicker ice beyond a straight line across an image (h, w): ``depth`` 0 .. 1 less light, in place."""
    distance = _from_line(transmission.shape, rng)
    transmission *= 1.0 - np.float32(depth) * soft_step(distance, width_px)


def add_crack(potential: FloatImage, transmission: FloatImage, width_px: float, rng: np.random.Generator) -> None:
    """A bright straight crack right across the ice: potential (h, w) and transmission (h, w), in place."""
    inside = soft_step(0.5 * np.float32(width_px) - np.abs(_from_line(transmission.shape, rng)), 0.2 * width_px)
    transmission *= 1.0 + np.float32(0.04) * inside
    potential -= np.float32(0.5) * inside


def _from_line(shape: tuple[int, ...], rng: np.random.Generator) -> FloatImage:
    """Signed distance of each pixel from a line through the middle part of an image, px, (h, w) float32."""
    angle, (across, down) = rng.uniform(0.0, 2.0 * math.pi), rng.uniform(0.3, 0.7, 2)
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = (x - across * shape[1]) * math.cos(angle) + (y - down * shape[0]) * math.sin(angle)
    return np.asarray(distance, np.float32)
