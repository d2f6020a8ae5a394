"""How far from the middle of their boxes particles reach: what lies beyond is noise, and is masked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

#: Share of the strongest excess of variance below which nothing of the particle is left.
_LEAST_EXCESS = 0.05
#: Excess over the background's variance without which particles cannot be seen to end.
_SEEN = 0.03
#: The same in standard errors of the background's circles.
_STANDARD_ERRORS = 8.0
#: Added to the radius, px.
_MARGIN_PX = 2.0
#: Circles with fewer pixels are not looked at, px.
_FIRST_PX = 3


def reach(images: NDArray[np.float32], largest: float) -> float:
    """Radius that holds the particles, as a share of the box: at most ``largest``, which it is where none can be seen.

    The mean square on each circle around the middle, the median over the images: a fifth of junk does not move it.

    Parameters
    ----------
    images : (n, box, box) float32, yx
        Not centred, and with the mean and the s.d. of the background as 0 and 1.
    largest : float
        As a share of the box.
    """
    box = images.shape[1]
    yy, xx = np.indices((box, box)) - box // 2
    circle = np.hypot(yy, xx).astype(int).ravel()
    used = circle < box // 2
    size = np.bincount(circle[used])
    flat = images.reshape(len(images), -1)[:, used] ** 2
    power = np.stack([np.bincount(circle[used], row) for row in flat]) / size
    median = np.median(power, axis=0)
    beyond = median[int(largest * box) - 1 :]
    excess = gaussian_filter1d(median - beyond.mean(), 1.0)[_FIRST_PX : int(largest * box)]
    if excess.max(initial=0.0) < max(_SEEN, _STANDARD_ERRORS * float(beyond.std())):
        return largest
    last = _FIRST_PX + int(np.flatnonzero(excess > _LEAST_EXCESS * excess.max()).max())
    return float(min(largest, (last + 1 + _MARGIN_PX) / box))
