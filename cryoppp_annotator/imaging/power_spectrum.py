"""The power spectrum of a micrograph from tapered tiles, and the same on rings and sectors.

A tapered, overlapping set of tiles (Welch 1967, doi:10.1109/TAU.1967.1161901) has no cross from the edges and little
variance. Tiles span the same length whatever the pixel size, so that the rings of a large defocus stay apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..model.context import JobContext
from .camera_artefacts import camera_artefacts, without_artefacts
from .filters import fft_workers, find_padding
from .polar_geometry import PolarGeometry, polar_geometry

_QUIET = JobContext()
#: Length of a tile, angstrom: rings of 6 um defocus at 10 A lie four Fourier pixels apart.
TILE_A = 1000.0
#: Least and largest side of a tile, px.
_SIDE_RANGE = (128, 2048)
#: Largest side of a tile, share of the image's shorter side.
_MOST_OF_IMAGE = 0.6
#: Tiles that vary so many times as much as the median one hold no plain ice or carbon.
_WILD_TILE = 6.0
#: Grey values so far from the median are broken pixels, standard deviations.
_WILD_GREY = 8.0


@dataclass(frozen=True, eq=False)
class TiledSpectrum:
    """Mean power of the tiles of a micrograph.

    Attributes
    ----------
    pixel_size_A : float
    power : (side, side // 2 + 1) float32
        Half spectrum, as ``rfft2`` orders it, in units of the grey values' variance per px.
    polar : (n_sectors, n_rings) float64
        The same on the bins of ``geometry``; NaN where a bin is empty.
    quarters : (4, n_sectors, n_rings) float64
        Of the tiles in each quarter: top left, top right, bottom left, bottom right.
    quarter_centres : (4, 2) float64
        Mean centre of those tiles, yx, px.
    geometry : PolarGeometry
    n_tiles : int
        Tiles that count; overlapping ones by half.
    """

    pixel_size_A: float
    power: NDArray[np.float32]
    polar: NDArray[np.float64]
    quarters: NDArray[np.float64]
    quarter_centres: NDArray[np.float64]
    geometry: PolarGeometry
    n_tiles: int

    @property
    def frequencies(self) -> NDArray[np.float64]:
        """(n_rings,) float64, mean spatial frequency of each ring, 1/A."""
        g = self.geometry
        return np.asarray(np.sqrt((g.count * g.q2).sum(axis=0) / g.count.sum(axis=0)) / self.pixel_size_A)

    @property
    def radial(self) -> NDArray[np.float64]:
        """(n_rings,) float64, mean power of each ring."""
        return ring_mean(self.polar, self.geometry.count)


def ring_mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_rings,) weighted mean over sectors; NaN is left out. ``values`` and ``weights`` (n_sectors, n_rings)."""
    known = np.where(np.isnan(values), 0.0, weights)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.nan_to_num(values) * known).sum(axis=0) / known.sum(axis=0))


def tile_side(pixel_size_A: float, shape: tuple[int, int]) -> int:
    """Even side of a tile, px: some 1000 A, so long as that is not much over half of the image."""
    most = min(max(round(_MOST_OF_IMAGE * min(shape)), _SIDE_RANGE[0]), _SIDE_RANGE[1])
    longest = min(max(TILE_A / pixel_size_A, _SIDE_RANGE[0]), most)
    side = 2 * int(scipy.fft.next_fast_len(math.floor(longest / 2.0), real=True))
    return side if side <= most else 2 * (most // 2)


def tiled_spectrum(image: NDArray[Any], pixel_size_A: float, context: JobContext = _QUIET) -> TiledSpectrum:
    """Power spectrum of a micrograph, its padding left out.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        At least 128 px on each side within its padding. Values that are not finite count as the median.
    pixel_size_A : float
    context : JobContext
        Cancel is asked for with every row of tiles.

    Returns
    -------
    TiledSpectrum

    Raises
    ------
    ValueError
        The image is too small, or empty (one grey value).
    Cancelled
    """
    top, bottom, left, right = find_padding(image)
    inside = image[top : image.shape[0] - bottom, left : image.shape[1] - right]
    if min(inside.shape) < _SIDE_RANGE[0]:
        raise ValueError(f"a power spectrum needs {_SIDE_RANGE[0]} x {_SIDE_RANGE[0]} px, not {inside.shape}")
    side = tile_side(pixel_size_A, inside.shape)
    starts = [_starts(n, side) for n in inside.shape]
    limits = _grey_limits(inside)
    middle = [0.5 * (s[0] + s[-1]) for s in starts]
    sums, centres, n = np.zeros((4, side, side // 2 + 1), np.float32), np.zeros((4, 2)), np.zeros(4)
    for (y, x), tile in _plain_tiles(inside, starts, side, limits, context):
        quarter = 2 * int(y > middle[0]) + int(x > middle[1])
        sums[quarter] += _power(tile)
        centres[quarter] += (y + top + 0.5 * (side - 1), x + left + 0.5 * (side - 1))
        n[quarter] += 1
    geometry = polar_geometry(side)
    power = sums.sum(axis=0) / np.float32(n.sum())
    artefact = camera_artefacts(power, geometry)
    polar = np.stack([geometry.average(without_artefacts(part, artefact)) for part in sums])
    with np.errstate(invalid="ignore", divide="ignore"):
        quarters, centres = polar / n[:, None, None], centres / n[:, None]
    return TiledSpectrum(pixel_size_A, power, polar.sum(axis=0) / n.sum(), quarters, centres, geometry, int(n.sum()))


def _plain_tiles(
    image: NDArray[Any], starts: list[list[int]], side: int, limits: tuple[float, float, float], context: JobContext
) -> Iterator[tuple[tuple[int, int], NDArray[np.float32]]]:
    """First pixel and tapered grey values of each tile that is not wild; the taper's mean square is 1 / side^2."""
    low, middle, high = limits
    taper = np.hanning(side + 1)[:-1].astype(np.float32)
    window = taper[:, None] * taper
    window /= np.float32(math.sqrt(float((window.astype(np.float64) ** 2).sum())))
    most = _WILD_TILE * _usual_variance(image, starts, side, (low, high))
    for y in starts[0]:
        context.check()
        for x in starts[1]:
            tile = np.clip(image[y : y + side, x : x + side], low, high, dtype=np.float32, casting="unsafe")
            np.nan_to_num(tile, copy=False, nan=middle)
            tile -= tile.mean()
            if float(np.mean(tile[::4, ::4] ** 2)) <= most:
                tile *= window
                yield (y, x), tile


def _power(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    """Power of the half spectrum; the tile is used up."""
    spectrum = scipy.fft.rfft2(tile, workers=fft_workers(), overwrite_x=True)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    return np.asarray(power)


def _starts(length: int, side: int) -> list[int]:
    """First pixels of tiles that overlap by half, evenly spread over ``length`` px."""
    n = max(1, math.ceil((length - side) / (0.5 * side)) + 1)
    return [round(float(start)) for start in np.linspace(0, length - side, n)]


def _grey_limits(image: NDArray[Any]) -> tuple[float, float, float]:
    """Grey values beyond which a pixel is hot or dead, and between them the median, from every 64th pixel."""
    sample = np.asarray(image[::8, ::8], np.float32)
    sample = sample[np.isfinite(sample)]
    spread = float(sample.std()) if sample.size else 0.0
    if not spread > 0.0:
        raise ValueError("the image is empty: all pixels have the same grey value")
    low, middle, high = (float(value) for value in np.percentile(sample, (25, 50, 75)))
    reach = _WILD_GREY * ((high - low) / 1.349 or 1e-3 * spread)
    return middle - reach, middle, middle + reach


def _usual_variance(image: NDArray[Any], starts: list[list[int]], side: int, limits: tuple[float, float]) -> float:
    """Median variance of the tiles' grey values, from every eighth pixel."""
    parts = (image[y : y + side : 8, x : x + side : 8] for y in starts[0] for x in starts[1])
    return float(np.median([np.nanvar(np.clip(part.astype(np.float32), *limits)) for part in parts]))
