"""Which class averages show the same view: how alike they are at the best rotation, shift and hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..imaging.patches import shrink
from ..imaging.polar import PolarGrid, angles_needed, ring_power, rotation_table, shift_references, to_polar
from .grids import shift_grid

#: Averages are shrunk to this, px.
_SIDE_PX = 48
#: Rings that are compared: the first hold the size of the particle, which all views share.
_RINGS = (3, 12)
#: Shifts that are tried, px of the shrunk averages, and their step.
_REACH_PX = 3.0
_STEP_PX = 1.0
#: Averages that are at least so alike show one view.
SAME_VIEW = 0.65


def likeness(averages: NDArray[np.float32], mask_radius: float = 0.4) -> NDArray[np.float64]:
    """How alike averages (k, side, side), yx, white, are: correlation (k, k), 1 = the same picture.

    Each ring counts by the power that the averages have on it, so that it is the shape that is compared. A view and its
    mirror image are one: they are seen from opposite sides. ``mask_radius`` is the particle's, as a share of the side.
    """
    small = shrink(averages, _SIDE_PX) if averages.shape[1] > _SIDE_PX else np.asarray(averages, np.float32)
    side = small.shape[1]
    yy, xx = np.indices((side, side)) - side // 2
    mask = np.clip((side * mask_radius - np.hypot(yy, xx)) / 3.0 + 0.5, 0.0, 1.0).astype(np.float32)
    first, last = _RINGS
    last = min(last, side // 2 - 1)
    grid = PolarGrid(side, last, angles_needed(last, side, side * mask_radius))
    orders = to_polar(np.nan_to_num(small) * mask, grid)
    orders[0] -= orders[0].mean(axis=0)  # what all views share says nothing of any
    orders[:, :, : first - 1] = 0.0
    spectrum = np.sqrt(ring_power(orders).mean(axis=0))
    weight = np.sqrt(grid.radii) / np.sqrt(np.maximum(spectrum, 1e-6 * spectrum.max() + 1e-30))
    orders = orders * weight.astype(np.float32)
    orders /= np.sqrt(np.maximum(ring_power(orders).sum(axis=1), 1e-30))[:, None]
    alike = np.maximum(_best(orders, orders, grid), _best(_mirrored(orders), orders, grid))
    return np.asarray(np.maximum(alike, alike.T))


def _mirrored(orders: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Coefficients of the images with y turned round."""
    sign = np.where(np.arange(len(orders)) % 2, -1.0, 1.0).astype(np.float32)
    return np.asarray(np.conj(orders) * sign[:, None, None], np.complex64)


def _best(a: NDArray[np.complex64], b: NDArray[np.complex64], grid: PolarGrid) -> NDArray[np.float64]:
    """Largest correlation over rotations and shifts of each of ``a`` with each of ``b``: (k, k)."""
    table = rotation_table(grid.n_orders, grid.n_angles)
    moved = shift_references(b, shift_grid(_REACH_PX, _STEP_PX)[0], grid)
    k, s = moved.shape[1:3]
    out = np.empty((len(a[0]), k))
    for i in range(len(out)):
        cross = np.einsum("mr,mjsr->mjs", np.conj(a[:, i]), moved).reshape(grid.n_orders, -1)
        values = table @ np.concatenate([cross.real, cross.imag])
        out[i] = values.max(axis=0).reshape(k, s).max(axis=1)
    return out
