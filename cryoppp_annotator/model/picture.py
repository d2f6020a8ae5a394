"""A micrograph as it is shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Picture:
    """A display copy of a micrograph.

    Attributes
    ----------
    pixels : (h, w) float32, yx
    step : (2,) tuple of float, yx
        Micrograph pixels per picture pixel: pixel ``(i, j)`` is centred at ``(i * step[0], j * step[1])``. Fourier
        cropping keeps pixel 0 in place, so there is no offset.
    limits : (low, high)
        Robust contrast limits in the units of ``pixels``.
    """

    pixels: NDArray[np.float32]
    step: tuple[float, float]
    limits: tuple[float, float]
