"""A micrograph as an outside program can take it: finite float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError


def plain_image(image: NDArray[Any], smallest_px: float = 1.0) -> NDArray[np.float32] | None:
    """A copy of a micrograph without NaN and infinities (the median instead), which outside programs die of.

    Parameters
    ----------
    image : (h, w) array of any real dtype, yx
        Not modified.
    smallest_px : float
        Side under which nothing can be found, px: a particle's diameter.

    Returns
    -------
    (h, w) float32, or None
        None where there is nothing to find: no contrast, nothing finite, or a side below ``smallest_px``.

    Raises
    ------
    EngineError
        The image is empty or not 2-D.
    """
    if image.ndim != 2 or image.size == 0:
        raise EngineError(f"a micrograph is a 2-D image; this is an array of {image.shape}")
    if min(image.shape) < smallest_px:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        plain = np.array(image, np.float32)
    finite = np.isfinite(plain)
    if not finite.any():
        return None
    if not finite.all():
        plain[~finite] = np.median(plain[finite])
    return plain if plain.min() < plain.max() else None
