"""Candidates of a micrograph as the learned picker sees them: rotation-invariant numbers of the image around each.

Places come from the ``log`` detector. The numbers are the Fourier magnitudes, over the angle, of the image on rings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, maximum_filter
from scipy.spatial import cKDTree
from skimage import filters

from ..model.context import JobContext
from ..model.coordinates import FloatArray, angstrom_to_px
from .log import detect
from .response import FloatImage, white_copy
from .suppress import inside, suppress

# scikit-image has no types
_filters: Any = filters
_QUIET = JobContext()
#: Rings that a candidate is described on.
_RINGS = 14
#: Angles on a ring.
_ANGLES = 48
#: Radius of the outermost ring, diameters.
_REACH = 0.9
#: Angular frequencies that are kept.
_HARMONICS = 8
#: A decision is about the candidate within so many diameters.
SAME = 0.3
#: Smallest score of the detector for a candidate, robust s.d.
_LEAST = 1.0
#: Least distance of two candidates, diameters.
_APART = 0.4


@dataclass(frozen=True, eq=False)
class Seen:
    """Candidates of one micrograph, described.

    Attributes
    ----------
    x, y : (n,) float64, canonical px
    numbers : (n, k) float32
        Not standardised; the first is the logarithm of the detector's score.
    edge : (n,) float64
        1 at the edge (or the padding) .. 0 half a diameter and more away from it, where a particle is whole.
    away : (n,) float64
        Distance to the edge of the file, padding or not, diameters.
    diameter : float
        Micrograph px.
    white : (h, w) float32
        Whitened working copy; its pixel (0, 0) is the micrograph's.
    step : float
        Micrograph px per pixel of it.
    n_detected : int
        The first so many were found by the detector; the rest are places that were given.
    """

    x: FloatArray
    y: FloatArray
    numbers: NDArray[np.float32]
    edge: FloatArray
    away: FloatArray
    diameter: float
    white: FloatImage
    step: float
    n_detected: int = 0

    @property
    def places(self) -> tuple[FloatImage, FloatArray, FloatArray, float]:
        """White picture, and the candidates' x, y and diameter in its px."""
        return self.white, self.x / self.step, self.y / self.step, self.diameter / self.step

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Example:
    """Decisions about picks of one micrograph.

    Attributes
    ----------
    x, y : (n,) float64, canonical px
    accepted : (n,) bool
    """

    x: FloatArray
    y: FloatArray
    accepted: NDArray[np.bool_]


def describe(
    image: NDArray[Any],
    *,
    pixel_size_A: float,
    diameter_A: float,
    polarity: str = "dark",
    also: tuple[FloatArray, FloatArray] | None = None,
    context: JobContext,
) -> Seen:
    """Find and describe candidates; the slow part of learning, the same for any decisions.

    Parameters
    ----------
    image : (h, w) real array, yx
    pixel_size_A, diameter_A : float
    polarity : 'dark' or 'bright'
    also : (x, y), optional
        Places that are described where no candidate lies on them (picks by hand), canonical px.
    context : JobContext

    Raises
    ------
    EngineError
    Cancelled
    """
    whole = angstrom_to_px(diameter_A, pixel_size_A)
    seen = detect(image, pixel_size_A=pixel_size_A, diameter_A=diameter_A, polarity=polarity, context=context)
    if seen is None:
        nothing = np.zeros(0)
        numbers = np.zeros((0, 2 + _RINGS * (1 + _HARMONICS)), np.float32)
        return Seen(nothing, nothing, numbers, nothing, nothing, whole, np.zeros((1, 1), np.float32), 1.0)
    x, y, score = seen.peaks()
    good = (score >= _LEAST) & inside(x, y, image.shape, seen.padding)
    x, y, score = x[good], y[good], score[good]
    kept = suppress(x, y, score, _APART * whole)
    x, y, score = x[kept], y[kept], score[kept]
    n_detected = len(x)
    if also is not None and len(also[0]):
        more_x, more_y = _unseen(also, (x, y), SAME * whole, image.shape)
        near = maximum_filter(seen.response, size=2 * max(1, int(0.15 * seen.diameter)) + 1)
        at = [more_y / seen.step, more_x / seen.step]
        more = np.maximum(map_coordinates(near, at, order=0, mode="nearest"), 0.1)
        x, y, score = np.r_[x, more_x], np.r_[y, more_y], np.r_[score, more]
    context.check()
    white = white_copy(seen.small)
    rings = _rings(white, x / seen.step, y / seen.step, seen.diameter, context)
    numbers = np.column_stack([np.log(np.maximum(score, 0.1)).astype(np.float32), score.astype(np.float32), rings])
    top, bottom, left, right = seen.padding
    h, w = image.shape
    whole_for = np.minimum.reduce([x - left, w - 1 - right - x, y - top, h - 1 - bottom - y]) / whole
    edge = np.clip(1.0 - 2.0 * whole_for, 0.0, 1.0)
    away = np.minimum.reduce([x, w - 1 - x, y, h - 1 - y]) / whole
    return Seen(x, y, numbers, edge, away, whole, white, seen.step, n_detected)


def _unseen(
    places: tuple[FloatArray, FloatArray], known: tuple[FloatArray, FloatArray], limit: float, shape: tuple[int, ...]
) -> tuple[FloatArray, FloatArray]:
    x, y = places
    good = np.isfinite(x) & np.isfinite(y) & inside(x, y, shape)
    if len(known[0]):
        points = np.where(good[:, None], np.column_stack([x, y]), 0.0)
        distance, _ = cKDTree(np.column_stack(known)).query(points)
        good &= np.asarray(distance) > limit
    return x[good], y[good]


def _rings(
    small: NDArray[np.float32], x: FloatArray, y: FloatArray, diameter: float, context: JobContext
) -> NDArray[np.float32]:
    """Mean and square roots of Fourier magnitudes over the angle, on rings around places, (n, rings * (1 + harmonics)).

    ``x``, ``y`` and ``diameter`` are px of ``small``.
    """
    radius = ((np.arange(_RINGS) + 0.5) / _RINGS * _REACH * diameter)[:, None]
    angle = np.arange(_ANGLES) * (2.0 * np.pi / _ANGLES)
    dy, dx = radius * np.sin(angle), radius * np.cos(angle)
    out = np.zeros((len(x), _RINGS * (1 + _HARMONICS)), np.float32)
    for start in range(0, len(x), 500):
        context.check()
        some = slice(start, start + 500)
        places = [y[some, None, None] + dy, x[some, None, None] + dx]
        rings = map_coordinates(small, places, order=1, mode="reflect")
        spectrum = np.fft.rfft(rings, axis=2)[:, :, : 1 + _HARMONICS] / _ANGLES
        magnitude = np.sqrt(np.abs(spectrum[:, :, 1:])).transpose(0, 2, 1).reshape(len(spectrum), -1)
        out[some] = np.concatenate([spectrum[:, :, 0].real, magnitude], axis=1)
    return out
