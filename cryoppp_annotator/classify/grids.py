"""Which shifts, rings and angles a stage of the classification looks at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..imaging.polar import PolarGrid, angles_needed

#: Radius of what the angular sampling must resolve, as a share of the box.
OBJECT = 0.4
#: Standard deviation of the prior of shifts: picks are mostly this near to their particle.
_SHIFT_SD_PX = 2.5


def shift_grid(reach: float, step: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shifts on a disc, (s, 2) float32, yx, px, and the log of their Gaussian prior, (s,) float32."""
    line = np.arange(-int(reach / step), int(reach / step) + 1) * step
    yy, xx = np.meshgrid(line, line, indexing="ij")
    inside = np.hypot(yy, xx) <= reach + 1e-6
    shifts = np.stack([yy[inside], xx[inside]], axis=1).astype(np.float32)
    log_prior = -0.5 * (shifts**2).sum(axis=1) / _SHIFT_SD_PX**2
    return shifts, (log_prior - np.log(np.exp(log_prior).sum())).astype(np.float32)


def stage_grid(full: PolarGrid, n_rings: int) -> PolarGrid:
    """The grid of a coarser stage: fewer rings, and only as many angles as those need."""
    rings = min(n_rings, full.n_rings)
    return PolarGrid(full.box, rings, min(full.n_angles, angles_needed(rings, full.box, OBJECT * full.box)))
