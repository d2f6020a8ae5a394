"""Particles moved to where their centre is taken to be, so that each iteration searches only a step around it.

The first centres come from the envelope that all views share: the radial mean, which no rotation changes. They cost one
small matrix product. Later ones come from the class averages.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from ..imaging.polar import PolarGrid, ring_power, shift_references, to_rings
from .expectation import Assignment, Partition
from .grids import shift_grid

#: Particles moved at once: their rings fit into a few tens of megabytes.
_BLOCK = 512
#: Rings that the envelope is looked at on; what is finer tells views apart.
_ENVELOPE_RINGS = 12
_ENVELOPE_ITERATIONS = 5
#: Share of a particle that the ridge of the radial mean is worth, so that rings of no contrast divide by something.
_RIDGE = 1e-3


def moved(orders: NDArray[np.complex64], shift: NDArray[np.float32], grid: PolarGrid) -> NDArray[np.complex64]:
    """Coefficients of images, each moved by its own shift.

    Parameters
    ----------
    orders : (n_orders, n, n_rings) complex64, as of :func:`~cryoppp_annotator.imaging.polar.to_polar`
    shift : (n, 2) float32, yx, px
    grid : PolarGrid
    """
    n_orders, n, n_rings = orders.shape
    theta = (2.0 * np.pi * np.arange(grid.n_angles // 2) / grid.n_angles).astype(np.float32)
    ring = grid.radii[:n_rings] / np.float32(grid.box)
    out = np.empty_like(orders)
    for start in range(0, n, _BLOCK):
        rows = slice(start, start + _BLOCK)
        along = shift[rows, :1] * np.sin(theta) + shift[rows, 1:] * np.cos(theta)
        values = to_rings(orders[:, rows], PolarGrid(grid.box, n_rings, grid.n_angles))
        values = values * np.exp(-2j * np.pi * along[:, :, None] * ring).astype(np.complex64)
        full = np.concatenate([values, np.conj(values)], axis=1)
        back = scipy.fft.fft(full, axis=1, workers=1, overwrite_x=True)[:, :n_orders] / np.float32(grid.n_angles)
        out[:, rows] = back.transpose(1, 0, 2)
    return out


def envelope_centres(
    particles: Partition, grid: PolarGrid, dof: float, reach: float, step: float = 1.0
) -> NDArray[np.float32]:
    """Centres of particles under their common radial mean, (n, 2) float32, yx, px from the centre of the box.

    Parameters
    ----------
    particles : Partition
    grid : PolarGrid
    dof : float
        Independent samples per Fourier pixel.
    reach, step : float, px
        Of the shifts that are tried. The centre is their posterior mean.
    """
    shifts, log_prior = shift_grid(reach, step)
    rings = min(_ENVELOPE_RINGS, grid.n_rings)
    n, n_orders = len(particles), particles.orders.shape[0]
    both_signs = np.where(np.arange(n_orders) == 0, 1.0, 2.0).astype(np.float32)[:, None]
    weight = (2.0 * np.pi * dof * grid.radii / np.maximum(particles.power.mean(axis=0), 1e-6))[:rings]
    flat = np.conj(particles.orders[:, :, :rings]).transpose(1, 0, 2).reshape(n, -1)
    energy = particles.ctf2[:, :rings].sum(axis=0) + _RIDGE
    posterior = np.tile(np.exp(log_prior), (n, 1))
    for _ in range(_ENVELOPE_ITERATIONS):
        sums = np.conj(posterior.T @ flat).reshape(len(shifts), n_orders, rings).transpose(1, 0, 2)
        back = shift_references(np.ascontiguousarray(sums[:, None], np.complex64), shifts, grid, back=True)
        mean = np.zeros((n_orders, 1, rings), np.complex64)
        mean[0, 0] = back[0, 0].real / energy * weight
        shifted = shift_references(mean, shifts, grid)[:, 0] * both_signs[:, None]
        score = (flat @ shifted.transpose(0, 2, 1).reshape(-1, len(shifts))).real + log_prior
        posterior = np.exp(score - score.max(axis=1, keepdims=True))
        posterior /= posterior.sum(axis=1, keepdims=True)
    return np.asarray(posterior @ shifts, np.float32)


def image_offset(assignment: Assignment) -> NDArray[np.float32]:
    """Offset of each particle in its image, (n, 2) float32, yx, px, from the shift of the average and its rotation."""
    turn = np.deg2rad(assignment.angle_deg)
    y, x = assignment.shift.T
    return np.stack([x * np.sin(turn) + y * np.cos(turn), x * np.cos(turn) - y * np.sin(turn)], axis=1)


def within(shift: NDArray[np.float32], reach: float) -> NDArray[np.float32]:
    """Shifts that are no longer than ``reach``.

    Parameters
    ----------
    shift : (n, 2) float32, yx, px of the boxes
    reach : float
        px; longer shifts are shortened to it.

    Returns
    -------
    (n, 2) float32, yx, px of the boxes
    """
    length = np.maximum(np.hypot(*shift.T), 1e-9)
    return np.asarray(shift * np.minimum(1.0, reach / length)[:, None], np.float32)


def centred(particles: Partition, shift: NDArray[np.float32], grid: PolarGrid) -> Partition:
    """Particles moved to the centre of their boxes.

    Parameters
    ----------
    particles : Partition
    shift : (n, 2) float32, yx, px of the boxes
        Where the centre of each is, from the middle of its box.
    grid : PolarGrid
    """
    orders = moved(particles.orders, -shift, grid)
    return Partition(orders, particles.power, particles.ctf2, particles.half)


def first_ring_power(particles: Partition, rings: int) -> NDArray[np.float32]:
    """Power of all but the radial part on the first rings, (n,) float32."""
    rest = particles.orders[1:, :, :rings]
    return np.asarray(ring_power(rest).sum(axis=1), np.float32)
