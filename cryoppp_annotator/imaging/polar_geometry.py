"""Sectors and rings of a half spectrum: which each Fourier pixel belongs to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Sectors of half a turn.
N_SECTORS = 36


@dataclass(frozen=True, eq=False)
class PolarGeometry:
    """Which sector and ring each Fourier pixel of a half spectrum belongs to, and where each bin lies on the average.

    Attributes
    ----------
    side : int
        Of the tile, px.
    bin : (side, side // 2 + 1) int32
        ``sector * n_rings + ring``; the last number is for what belongs to none.
    count : (n_sectors, n_rings) float64
        Fourier pixels in each bin.
    q2, q4, q2_cos, q2_sin : (n_sectors, n_rings) float64
        Means of ``q^2``, ``q^4``, ``q^2 cos 2a`` and ``q^2 sin 2a``, q in cycles per px, a from x (column) to y (row).
    """

    side: int
    bin: NDArray[np.int32]
    count: NDArray[np.float64]
    q2: NDArray[np.float64]
    q4: NDArray[np.float64]
    q2_cos: NDArray[np.float64]
    q2_sin: NDArray[np.float64]

    def average(self, power: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Mean in each bin, (n_sectors, n_rings) float64, of a half spectrum; NaN in an empty bin."""
        sums = np.bincount(self.bin.ravel(), power.ravel(), self.count.size + 1)[:-1].reshape(self.count.shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums / self.count)


@lru_cache(maxsize=4)
def polar_geometry(side: int, n_sectors: int = N_SECTORS) -> PolarGeometry:
    """Sectors of half a turn, the first centred on the x axis, and rings one Fourier pixel wide up to Nyquist.

    Column 0 (and the last) of a half spectrum holds each pair of Friedel mates twice; both are kept, they are few.
    """
    qy = np.fft.fftfreq(side)[:, None]
    qx = np.fft.rfftfreq(side)[None]
    q2 = qy * qy + qx * qx
    n_rings = side // 2
    ring = np.rint(np.sqrt(q2) * side).astype(np.int32) - 1
    step = math.pi / n_sectors
    sector = np.floor((np.arctan2(qy, qx) + 0.5 * step) / step).astype(np.int32) % n_sectors
    number = np.where((ring >= 0) & (ring < n_rings), sector * n_rings + ring, n_sectors * n_rings).astype(np.int32)
    shape, size = (n_sectors, n_rings), n_sectors * n_rings
    count = np.bincount(number.ravel(), minlength=size + 1)[:-1].reshape(shape).astype(np.float64)
    geometry = PolarGeometry(side, number, count, count, count, count, count)
    means = (q2, q2 * q2, qx * qx - qy * qy, 2.0 * qx * qy)
    return PolarGeometry(side, number, count, *(np.nan_to_num(geometry.average(mean)) for mean in means))
